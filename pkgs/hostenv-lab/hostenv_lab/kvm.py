"""`python3 kvm.py DEVICE`: exit status 0 if KVM runs a guest of one instruction, as QEMU would set it up.

It asks what QEMU would ask, so that nobody has to install QEMU to find out. A program of its own, because the
kernel may let it wait for ever.
"""

import ctypes
import fcntl
import mmap
import os
import struct
import sys

# of <linux/kvm.h>, for x86-64
_CREATE_VM = 0xAE01
_GET_VCPU_MMAP_SIZE = 0xAE04
_CREATE_VCPU = 0xAE41
_RUN = 0xAE80
_SET_USER_MEMORY_REGION = 0x4020AE46
_GET_SUPPORTED_CPUID = 0xC008AE05
_SET_CPUID2 = 0x4008AE90
_GET_MSRS, _SET_MSRS = 0xC008AE88, 0x4008AE89
_EXIT_HLT = 5
_EXIT_REASON_AT = 8

_HLT = 0xF4
_PAGE = 4096
# where a processor begins: 16 bytes below 4 GiB
_LAST_PAGE, _RESET_AT = 0xFFFFF000, 0xFF0
_CPUID_ENTRIES, _CPUID_ENTRY = 256, 40
_ARCH_CAPABILITIES = 0x10A


def guest_runs(device: str) -> bool:
    """Whether a guest halts by itself. Raises OSError where there is no KVM for it."""
    kvm = os.open(device, os.O_RDWR)
    machine = fcntl.ioctl(kvm, _CREATE_VM, 0)
    memory = mmap.mmap(-1, _PAGE)
    memory[_RESET_AT] = _HLT
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    region = struct.pack("=IIQQQ", 0, 0, _LAST_PAGE, _PAGE, address)
    fcntl.ioctl(machine, _SET_USER_MEMORY_REGION, region)
    processor = fcntl.ioctl(machine, _CREATE_VCPU, 0)
    if not _takes_features(kvm, processor):
        return False
    state = mmap.mmap(processor, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE, 0))
    fcntl.ioctl(processor, _RUN, 0)
    return bool(struct.unpack_from("=I", state, _EXIT_REASON_AT)[0] == _EXIT_HLT)


def _takes_features(kvm: int, processor: int) -> bool:
    """Whether the guest's processor takes what KVM offers; some nested ones offer what they refuse."""
    features = bytearray(struct.pack("=II", _CPUID_ENTRIES, 0) + bytes(_CPUID_ENTRIES * _CPUID_ENTRY))
    fcntl.ioctl(kvm, _GET_SUPPORTED_CPUID, features)
    fcntl.ioctl(processor, _SET_CPUID2, features)
    register = bytearray(struct.pack("=IIIIQ", 1, 0, _ARCH_CAPABILITIES, 0, 0))
    offered = fcntl.ioctl(kvm, _GET_MSRS, register)
    taken = fcntl.ioctl(processor, _SET_MSRS, register)
    return bool(offered == taken)


if __name__ == "__main__":
    try:
        sys.exit(not guest_runs(sys.argv[1]))
    except OSError:
        sys.exit(1)
