"""The functions of compute nodes: found, bounded, read for purity, run in processes, which import two files of it."""
