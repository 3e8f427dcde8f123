"""The scheduler beside other solvers and other schedulers."""
