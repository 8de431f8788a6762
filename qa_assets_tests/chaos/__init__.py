"""Whether every request is answered exactly once when the processes of the stream are killed.

`make chaos` runs it in full; `test_chaos.py` a few rounds. It lies with the tests, not with the
benchmarks, since it measures nothing: it passes or fails.
"""
