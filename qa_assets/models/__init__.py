"""Hugging Face models: loading, saving, tokenising, decoding.

Other packages load a model by `loading` and know it by `task_model`. What is optimised, and by what
data, is in `qa_assets.training`; engines that serve are in `qa_assets.deployment`.
"""
