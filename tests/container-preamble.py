# Before the script of a test whose machines are containers. nixpkgs' driver reads what process 1 of one tells
# about itself only until it is ready. Process 1 goes on telling, if a job takes more than a few seconds, and
# after ten messages waits for a reader for ever. With the socket closed it gives up instead.
import functools


def deafen(machine_class):
    wait = machine_class.get_systemd_process.func

    def wait_once(machine):
        process = wait(machine)
        machine.machine_sock.close()
        return process

    machine_class.get_systemd_process = functools.cached_property(wait_once)
    machine_class.get_systemd_process.__set_name__(machine_class, "get_systemd_process")


deafen(type(provider))
