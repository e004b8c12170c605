"""A stand-in for comin, the GitOps agent, for lab machines where comin itself is not at hand.

It keeps to what comin 0.13.0 was seen doing with `repository_type: flake`, a main branch and no confirmation,
runs the same nix and systemctl commands, and passes the same conformance test (tests/conformance):

    comin run --config FILE
    comin status [--json] [--unix-socket-path SOCKET]
    comin fetch [--unix-socket-path SOCKET]

What it does not do it refuses at start: testing branches, signatures, submodules, confirmers,
`repository_type: nix`. It has no metrics and no other commands, and its socket speaks JSON, not gRPC.
`hostenv_lab.program` makes one executable file of it, which needs nothing but Python.
"""
