#!/usr/bin/env python3
"""Keeps free memory of a virtual machine from its host. usage: backed_memory.py GB; a line says when it is done, and it lasts until standard input ends.

A host may take back what its guest has free, and gives it again page by page, at a twentieth of the speed of memory or less, with the virtual CPU standing still
meanwhile: who writes into fresh memory then (a server's or a disk cache's pages) measures the host, and stops whoever waits for that CPU. What a
host takes back are whole free blocks of 2 MB. So this touches so many GB once and then keeps 4 kB of each block: the rest is free to all, and stays."""
import mmap
import sys
import time

BLOCK, PAGE = 2 << 20, 4096


def touch(memory):
    begun, content = time.monotonic(), b"\1" * BLOCK
    for at in range(0, len(memory), BLOCK):
        memory[at:at + BLOCK] = content
    return len(memory) / (time.monotonic() - begun) / 1e9


def main():
    size = int(float(sys.argv[1]) * (1 << 30)) // BLOCK * BLOCK
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    first, again = touch(memory), touch(memory)
    for at in range(0, size, BLOCK):
        memory.madvise(mmap.MADV_DONTNEED, at + PAGE, BLOCK - PAGE)
    print(f"{size / 1e9:.1f} GB of free memory are kept from the host (written for the first time at {first:.2f} GB/s, again at {again:.1f})", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
