"""Programs that measure the engine beside its peers; `python3 run.py bench NAME` runs one."""
