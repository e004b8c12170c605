"""Machines, images and a driver that run a NixOS testScript without Nix (contract 1 and 9)."""
