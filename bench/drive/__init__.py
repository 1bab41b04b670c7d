"""Drives brokers through benchmarks: starts them, loads them, keeps what came out, and makes tables of it."""
