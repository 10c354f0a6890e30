"""Settings of all tests."""

import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the processes of tests

import torch
from hypothesis import settings

torch.set_num_threads(1)  # tiny problems: waiting for a second thread costs more than it helps

# processes of tests hear Ctrl-C even where the tests were started in the background
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
