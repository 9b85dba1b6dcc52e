"""Devices, threads, memory and profiling."""
