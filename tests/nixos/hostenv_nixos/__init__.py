"""Builds the flake's NixOS machines from Debian's programs and runs its tests on them."""
