#!/usr/bin/env python3
"""valgrind, for programs that read the clock through rustix: `benches/valgrind.py --tool=callgrind PROGRAM …`

rustix asks the kernel for the auxiliary vector (`prctl(PR_GET_AUXV)`, Linux 6.4) and follows it to the vDSO. Valgrind hides the
vDSO from a program, but (3.19, 2022) does not know this question, so the program reads where nothing is any more and dies. Here
a seccomp filter answers the question with EINVAL, as an older kernel does; rustix then reads /proc/self/auxv, which valgrind
does edit. Nothing else changes, neither for valgrind nor for the program.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_GET_AUXV = 38, 22, 0x41555856
SECCOMP_MODE_FILTER, RET_ALLOW, RET_ERRNO = 2, 0x7FFF0000, 0x00050000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # of classic BPF
NUMBER_AT, FIRST_ARGUMENT_AT = 0, 16  # in `struct seccomp_data`; the lower half comes first on both machines
PRCTL = {"x86_64": 157, "aarch64": 167}


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def refuse_auxv(prctl):
    # Each: what to do, how many to skip if equal, how many if not, operand.
    steps = [
        (LOAD_WORD, 0, 0, NUMBER_AT),
        (JUMP_IF_EQUAL, 0, 3, prctl),
        (LOAD_WORD, 0, 0, FIRST_ARGUMENT_AT),
        (JUMP_IF_EQUAL, 0, 1, PR_GET_AUXV),
        (RETURN, 0, 0, RET_ERRNO | errno.EINVAL),
        (RETURN, 0, 0, RET_ALLOW),
    ]
    program = Program(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    for question in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*question) != 0:
            sys.exit(f"valgrind.py: the system takes no seccomp filter: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    if platform.machine() in PRCTL:
        refuse_auxv(PRCTL[platform.machine()])
    try:
        os.execvp("valgrind", ["valgrind", *sys.argv[1:]])
    except FileNotFoundError:
        sys.exit("valgrind is not here; get it with: apt install valgrind")
