"""What contract 8 promises and a unit alone keeps, as systemd shows it when it has read all of the unit."""

from dataclasses import dataclass

from hostenv_scenarios.driver import Machine


@dataclass(frozen=True)
class Promise:
    """A property of a unit, and words of `systemctl show` that must be in it, in this order."""

    unit: str
    key: str
    words: str


OF_A_NODE = (
    Promise("comin.service", "ExecStartPre", "hostenv-node prepare-comin"),
    Promise("comin.service", "Restart", "=always"),
    Promise("comin.service", "StartLimitIntervalUSec", "=0"),
    Promise("hostenv-token.path", "Paths", "/etc/hostenv/node-token (PathChanged)"),
    Promise("hostenv-token.service", "ExecStart", "systemctl --no-block restart comin.service"),
    Promise("hostenv-token.service", "ExecStart", "systemctl --no-block start hostenv-activate.service"),
    Promise("hostenv-activate.timer", "TimersMonotonic", "OnBootUSec=1s"),
    Promise("hostenv-activate.timer", "TimersMonotonic", "OnUnitInactiveUSec=30s"),
    # each action has its own limit, and waiting for another node is none
    Promise("hostenv-job@any.service", "TimeoutStartUSec", "=infinity"),
    Promise("hostenv-job@any.service", "StartLimitIntervalUSec", "=0"),
    # nothing that runs by an environment's user outlives who asked for it
    Promise("hostenv-job@any.service", "ExecStopPost", "hostenv-node stop-steps any"),
    # a freeze is in force, and an environment has its folders, before anybody can be served
    Promise("hostenv-runtime.service", "ExecStart", "hostenv-node boot"),
    Promise("hostenv-runtime.service", "Before", "nginx.service"),
    Promise("hostenv-runtime.service", "Before", "systemd-logind.service"),
)


def broken(machine: Machine, promises: tuple[Promise, ...]) -> list[str]:
    """What systemd shows of the units that do not keep their promises."""
    shown = {
        promise: machine.succeed(f"systemctl show --property {promise.key} {promise.unit}").strip()
        for promise in promises
    }
    return [f"{promise.unit}: {text}" for promise, text in shown.items() if promise.words not in text]


def condition(machine: Machine, unit: str, name: str) -> str:
    """What a condition of a unit asks about, which `systemctl show` cannot print."""
    path = f"/org/freedesktop/systemd1/unit/{unit.replace('-', '_2d').replace('.', '_2e')}"
    conditions = machine.succeed(
        f"busctl get-property org.freedesktop.systemd1 {path} org.freedesktop.systemd1.Unit Conditions"
    ).split()
    # name, whether any is enough, whether it is turned round, what it is about, result
    return conditions[conditions.index(f'"{name}"') + 3].strip('"')
