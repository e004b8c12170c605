"""Random schedules of faults through the real decisions of the service and its nodes (contract 5, 7 and 8).

What runs here is the product: the service's worker, verifier and job rules, and the nodes' agent. Only their
surroundings are made up: time, network, Git history, comin, disks and the sites themselves.
"""
