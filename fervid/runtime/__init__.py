"""What a run needs of the machine: devices, threads, memory and profiling."""
