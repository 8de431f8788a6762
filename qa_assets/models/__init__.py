"""Hugging Face models: loading, saving, tokenising, decoding.

`family` is the interface that the other packages use. What is optimised, and by what data, is in
`qa_assets.training`; engines that serve are in `qa_assets.deployment`.
"""
