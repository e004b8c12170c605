"""The operations on a node's environments (contract 7 and 8)."""

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from hostenv_core.errors import HostenvError
from hostenv_core.intents import Action
from hostenv_core.processes import CommandTimedOut

from hostenv_node import locks
from hostenv_node.config import Config
from hostenv_node.deadline import Deadline
from hostenv_node.environment import steps
from hostenv_node.environment.entry import Entry, Environment, parse_environment
from hostenv_node.environment.layout import Layout, job_name
from hostenv_node.environment.steps import Step
from hostenv_node.errors import OperationFailed, OperationTimedOut
from hostenv_node.jobs.api import Unreachable
from hostenv_node.jobs.operations import Context
from hostenv_node.render.files import Rendered, release_name, render, render_secrets
from hostenv_node.render.nginx import front_door
from hostenv_node.runtime import backup_server, code, logins, sequences
from hostenv_node.runtime.actions import chosen_snapshot, environment_of, snapshot_id
from hostenv_node.runtime.as_user import layout_of, open_home, user_apply
from hostenv_node.runtime.freeze import Freezes
from hostenv_node.runtime.frontdoor import FrontDoor
from hostenv_node.runtime.leftovers import Leftovers
from hostenv_node.runtime.live_move import LiveMove, Transfers
from hostenv_node.runtime.losses import judge
from hostenv_node.runtime.manager import UserManager
from hostenv_node.runtime.record import Applied, Phase, Record, Records
from hostenv_node.runtime.run_dirs import make_run_dirs

SecretsOf = Callable[[str], Mapping[str, str]]
"""The secrets of an environment's user, from the provider."""
BackupServer = Callable[[Mapping[str, str]], bool]
"""Whether the backup server holds a repository of these secrets' account; raises OperationFailed unless it
answers."""

_DAY_SECONDS = 86400.0
_UPKEEP_SECONDS = 60.0


class Runtime:
    """Implements `hostenv_node.jobs.operations.Operations`."""

    def __init__(
        self,
        config: Config,
        secrets_of: SecretsOf,
        await_provider: code.AwaitProvider,
        transfers: Transfers,
        backup_server: BackupServer = backup_server.demand_answer,
    ) -> None:
        self.config = config
        self.live_move = LiveMove(config, transfers)
        self.secrets_of = secrets_of
        self.await_provider = await_provider
        self.backup_server = backup_server
        self.records = Records(config.environments_dir)
        self.freezes = Freezes(config.freeze_dir)
        self.leftovers = Leftovers(config.leftovers_dir)
        self.front_door = FrontDoor(config)

    def backup(self, context: Context, action: Action) -> Mapping[str, object]:
        """Find what would be left behind, then back up: a live copy, or a frozen and drained one.

        A repetition for the same job gives the same snapshots.
        """
        with _reported():
            record = self.records.get(action.user)
            if record is None:
                raise OperationFailed(f"{self.config.node} has no environment {action.user} to back up")
            if not action.migrations:
                raise OperationFailed(
                    f"the intent names no migration to back up {action.user} by; plan again"
                )
            safe = action.live or self.freezes.holder(record.user) is not None
            if not (safe and record.job == context.job and set(record.snapshots) == set(action.migrations)):
                record = self._back_up(context, action, record)
            return {
                "user": record.user,
                "sourceNode": self.config.node,
                "snapshots": dict(record.snapshots),
            }

    def restore(self, context: Context, action: Action, entry: Entry, snapshots: Mapping[str, str]) -> None:
        """Bring code and exactly these data here; nothing is served, and what was here is set aside."""
        with _reported():
            key, snapshot = chosen_snapshot(action, snapshots)
            environment = environment_of(action, entry)
            layout = self._layout(environment)
            record = self.records.get(action.user)
            if (
                record is not None
                and (record.job, record.phase) == (context.job, Phase.RESTORED)
                and record.applied == Applied(entry, release_name(environment, self.config))
                and record.snapshots == {key: snapshot}
            ):
                return
            record = self._begin(context, environment, entry)
            if not record.set_aside.get(context.job):
                record = replace(record, set_aside={**record.set_aside, job_name(context.job): time.time()})
                self.records.put(record)
            release, lay_out = self._release(context, environment, layout, record)
            secrets = self.secrets_of(environment.user)
            self.backup_server(secrets)
            rendered = render(environment, layout, self.config)
            self._as_user(
                context,
                layout,
                [
                    *sequences.write(rendered, render_secrets(layout, secrets)),
                    *sequences.hold(),
                    *lay_out,
                    steps.Restore(context.job, key, snapshot),
                ],
            )
            self.records.put(replace(record, applied=Applied(entry, release), snapshots={key: snapshot}))

    def sync(self, context: Context, action: Action) -> None:
        """Rounds of changes, from the live source to the target that is not served."""
        with _reported():
            record = self._of_job(context, action)
            layout = self._layout(record)
            self._prepare(context, layout)
            if action.from_node == self.config.node:
                self.live_move.send_rounds(context, layout)
            else:
                assert action.from_node is not None
                assert record.applied.release is not None
                rendered = render(parse_environment(record.applied.entry), layout, self.config)
                warm = sequences.warm_up(layout, rendered, record.applied.release)
                self.live_move.take_rounds(context, layout, warm, action.from_node)

    def handover(self, context: Context, action: Action) -> None:
        """Freeze, drain and send the last changes."""
        with _reported():
            record = self._of_job(context, action)
            layout = self._layout(record)
            # What may take long comes before writes are refused.
            self._prepare(context, layout)
            if self.freezes.holder(record.user) is None:
                self.freezes.freeze(record.user, context.job)
            self.live_move.send_rest(context, layout)

    def activate(self, context: Context, action: Action, entry: Entry) -> None:
        """Start the environment and serve it, frozen."""
        with _reported():
            environment = environment_of(action, entry)
            layout = self._layout(environment)
            record = self.records.get(action.user)
            if (
                record is not None
                and (record.job, record.phase) == (context.job, Phase.ACTIVE)
                and record.applied.entry == entry
            ):
                return
            record = self._begin(context, environment, entry)
            release, lay_out = self._release(context, environment, layout, record)
            rendered = render(environment, layout, self.config)
            rest: list[Step] = []
            if action.live:
                rest = self.live_move.fetch_rest(context, layout, sequences.receive(layout, rendered))
            self._as_user(
                context,
                layout,
                [
                    *rest,
                    *self._write_all(layout, rendered),
                    *lay_out,
                    *sequences.first_start(environment, layout, rendered, release),
                ],
            )
            record = replace(record, applied=Applied(entry, release))
            self.records.put(record)
            with self._front_door_held():
                self.front_door.serve(environment, layout, context.deadline)
                self.records.put(replace(record, phase=Phase.ACTIVE))

    def reload(self, context: Context, action: Action, entry: Entry) -> None:
        """Change to `entry`; what served before stays ready for `revert`."""
        with _reported():
            record = self.records.get(action.user)
            if record is None or record.phase is not Phase.ACTIVE:
                raise OperationFailed(f"{action.user} is not active on {self.config.node}; start a new job")
            environment = environment_of(action, entry)
            layout = self._layout(environment)
            if record.job != context.job or record.previous is None:
                record = replace(record, job=context.job, previous=record.applied, snapshots={})
                self.records.put(record)
            assert record.previous is not None
            self._prepare(context, layout)
            release, lay_out = self._release(context, environment, layout, record)
            keep = [record.previous.release] if record.previous.release else []
            rendered = render(environment, layout, self.config)
            self._as_user(
                context,
                layout,
                [
                    *lay_out,
                    *self._write_all(layout, rendered),
                    *sequences.change(environment, layout, rendered, release, keep=keep, update=True),
                ],
            )
            with self._front_door_held():
                self.records.put(replace(record, applied=Applied(entry, release)))
                self.front_door.serve(environment, layout, context.deadline)

    def deactivate(self, context: Context, action: Action) -> None:
        """Stop serving and running the environment, close its log-in, and check all this; its data stay."""
        with _reported():
            record = self.records.get(action.user)
            if record is not None:
                self._take_down(context, record)

    def freeze(self, context: Context, user: str) -> None:
        """Let no more writes through and end those under way; a freeze of another job remains that job's."""
        with _reported():
            record = self.records.get(user)
            if record is None or record.phase is not Phase.ACTIVE:
                return
            holder = self.freezes.holder(user)
            if holder not in (None, context.job) or (holder and record.job == context.job):
                return
            layout = self._layout(record)
            self.freezes.freeze(user, context.job)
            self._prepare(context, layout)
            self._as_user(context, layout, [steps.Freeze()])
            self.records.put(replace(record, job=context.job, snapshots={}))

    def thaw(self, context: Context, user: str) -> None:
        """Let writes through again, if it was this job that froze."""
        with _reported():
            record = self.records.get(user)
            if self.freezes.holder(user) not in (None, context.job):
                return
            self.freezes.thaw(user, context.job)
            # Without a freeze too: a thaw may have been interrupted between the two.
            if record is not None and record.phase is Phase.ACTIVE:
                layout = self._layout(record)
                self._prepare(context, layout)
                self._as_user(context, layout, [steps.Thaw()])

    def keep(self, context: Context, user: str) -> None:
        """Forget what served before this job's reload."""
        with _reported():
            record = self.records.get(user)
            if record is None or record.job != context.job or record.previous is None:
                return
            record = replace(record, previous=None)
            self._tidy(context.deadline, record, [])
            self.records.put(record)

    def withdraw(self, context: Context, user: str) -> None:
        """Stop serving and running what this job restored or activated here; its data stay."""
        with _reported():
            record = self.records.get(user)
            if record is None:
                self.freezes.thaw(user, context.job)
            else:
                self._take_down(context, record)

    def revert(self, context: Context, user: str) -> None:
        """Serve again what served before this job's reload."""
        with _reported():
            record = self.records.get(user)
            if record is None or record.job != context.job or record.previous is None:
                return
            before = record.previous
            environment = parse_environment(before.entry)
            layout = self._layout(environment)
            self._prepare(context, layout)
            if before.release is None:
                raise OperationFailed(f"the release of {user} before this job is not there; start a new job")
            rendered = render(environment, layout, self.config)
            self._as_user(
                context,
                layout,
                [
                    *sequences.write(rendered),
                    *sequences.change(environment, layout, rendered, before.release, update=False),
                ],
            )
            with self._front_door_held():
                self.front_door.serve(environment, layout, context.deadline)
                self.records.put(replace(record, applied=before, previous=None))

    def left_behind(self, user: str) -> str | None:
        """What could not be deleted in the environment's home."""
        return self.leftovers.reason(user)

    def prune(self, now: float, busy: Container[str], is_wanted: Callable[[], bool]) -> Sequence[str]:
        """Delete what was set aside longer ago than the configured retention, and what is left over."""
        oldest = now - self.config.set_aside_retention_days * _DAY_SECONDS
        problems: list[str] = []
        for user in self.records.users():
            if is_wanted():
                return problems
            if user in busy:
                continue
            try:
                if not self.leftovers.rest(user, now):
                    problem = self._prune(user, oldest)
                    problems += [f"{user}: {problem}"] if problem else []
            except (HostenvError, OSError) as error:
                problem = str(error)
                self.leftovers.note(user, problem, now)
                problems.append(f"{user}: {problem}")
        # A damaged record was reported above; then nobody knows what is needed.
        with suppress(HostenvError):
            self._forget_copies()
        return problems

    def boot(self) -> None:
        """Recreate `/run/hostenv` and the front door's files from the records alone.

        A damaged record does not stop other environments from being served; it is reported at the end.
        """
        served: dict[str, str] = {}

        def recreate(record: Record) -> None:
            if record.phase is not Phase.INACTIVE:
                layout = self._layout(record)
                make_run_dirs(self.config, layout)
                if record.phase is Phase.ACTIVE:
                    environment = parse_environment(record.applied.entry)
                    served[record.user] = front_door(environment, layout, self.config.front_door_port)

        with _reported(), self._front_door_held():
            self.config.freeze_dir.mkdir(mode=0o711, exist_ok=True)
            try:
                self._for_each(recreate)
            finally:
                self.front_door.write(served)
                self.front_door.reload_if_running()

    def _for_each(self, work: Callable[[Record], None]) -> None:
        problems = []
        for user in self.records.users():
            try:
                record = self.records.get(user)
                if record is not None:
                    work(record)
            except (HostenvError, OSError) as error:
                problems.append(f"{user}: {error}")
        if problems:
            raise OperationFailed("; ".join(problems))

    def _prune(self, user: str, oldest: float) -> str | None:
        record = self.records.get(user)
        if record is None:
            return None
        if record.phase is Phase.INACTIVE and logins.is_open(user):
            # An earlier version deactivated it and left its account as it was.
            self._stop(Deadline.after(_UPKEEP_SECONDS), record, self._layout(record))
        due = {job for job, at in record.set_aside.items() if at < oldest}
        if not due and self.leftovers.reason(user) is None:
            return None
        layout = self._layout(record)
        self._tidy(Deadline.after(_UPKEEP_SECONDS), record, [layout.set_aside(job) for job in due])
        problem = self.leftovers.reason(user)
        if due and problem is None:
            left = {job: at for job, at in record.set_aside.items() if job not in due}
            self.records.put(replace(record, set_aside=left))
        return problem

    def _forget_copies(self) -> None:
        """Remove the copies of projects that no environment here is laid out from any more."""

        def needed() -> set[str]:
            found = [
                record for user in self.records.users() if (record := self.records.get(user)) is not None
            ]
            used = [record for record in found if record.phase is not Phase.INACTIVE]
            return {parse_environment(record.applied.entry).mirror for record in used}

        code.forget_copies(self.config, needed)

    def _back_up(self, context: Context, action: Action, record: Record) -> Record:
        environment = environment_of(action, record.applied.entry)
        layout = self._layout(record)
        secrets = self.secrets_of(record.user)
        repository = self.backup_server(secrets)
        self._prepare(context, layout)
        rendered = render(environment, layout, self.config)
        found = self._as_user(
            context,
            layout,
            [
                steps.CheckData(),
                *sequences.write(rendered, render_secrets(layout, secrets)),
                *(sequences.refresh(layout, rendered) if record.phase is Phase.ACTIVE else ()),
                steps.FindLosses(),
            ],
        )
        warning = judge(
            record.user,
            found.get(steps.FindLosses),
            physical=action.physical,
            accepted=action.accept_loss,
        )
        if warning is not None:
            context.tell(warning)
        if self.freezes.holder(record.user) is None and not action.live:
            # A stale copy stays frozen by the job that left it, whatever becomes of this one.
            self.freezes.freeze(record.user, context.job)
        results = self._as_user(
            context,
            layout,
            [
                *(() if action.live else (steps.Freeze(),)),
                steps.Backup(action.migrations, repository, action.physical, action.live),
            ],
        )
        taken = results.get(steps.Backup)
        if not isinstance(taken, Mapping):
            raise OperationFailed(f"the backup of {record.user} named no snapshots")
        snapshots = {key: snapshot_id(key, taken.get(key)) for key in action.migrations}
        if record.phase is Phase.INACTIVE:
            # Only `--migration-source` asks for the data of a copy that no longer serves.
            self._stop(context.deadline, record, layout)
        record = replace(record, job=context.job, snapshots=snapshots)
        self.records.put(record)
        return record

    def _of_job(self, context: Context, action: Action) -> Record:
        record = self.records.get(action.user)
        if record is None or record.job != context.job:
            raise OperationFailed(f"{self.config.node} has begun no move of {action.user} for this job")
        return record

    def _begin(self, context: Context, environment: Environment, entry: Entry) -> Record:
        """Frozen from here on, and recorded as begun by this job, before anything of it exists."""
        self.freezes.freeze(environment.user, context.job)
        before = self.records.get(environment.user)
        if before is not None and before.phase is Phase.ACTIVE:
            # A stale copy that its own deactivate left: its front door closes before its data change.
            self._close(context, before)
        mine = before is not None and before.job == context.job and before.applied.entry == entry
        record = Record(
            user=environment.user,
            uid=environment.uid,
            codebase=environment.codebase,
            phase=Phase.RESTORED,
            job=context.job,
            applied=before.applied if before is not None and mine else Applied(entry, None),
            snapshots=before.snapshots if before is not None and mine else {},
            set_aside={} if before is None else before.set_aside,
        )
        self.records.put(record)
        self._prepare(context, self._layout(record))
        return record

    def _release(
        self, context: Context, environment: Environment, layout: Layout, record: Record
    ) -> tuple[str, list[Step]]:
        """The release's name and the steps that finish it; none when it is laid out already."""
        release = release_name(environment, self.config)
        if record.applied.release == release:
            return release, []
        code.unpack_source(self.config, environment, layout, release, context.deadline, self.await_provider)
        return release, sequences.lay_out(environment, self.config, release)

    def _write_all(self, layout: Layout, rendered: Rendered) -> list[Step]:
        return sequences.write(rendered, render_secrets(layout, self.secrets_of(layout.user)))

    def _prepare(self, context: Context, layout: Layout) -> None:
        make_run_dirs(self.config, layout)
        open_home(layout)
        logins.allow(self.config, layout.user)
        UserManager(self.config, layout).start(context.deadline)

    def _take_down(self, context: Context, record: Record) -> None:
        self._close(context, record)
        self._stop(context.deadline, record, self._layout(record))
        self.records.put(replace(record, phase=Phase.INACTIVE, job=context.job, previous=None))
        self.freezes.lift(record.user)

    def _close(self, context: Context, record: Record) -> None:
        """Stop serving the environment, also after a boot."""
        hostname = parse_environment(record.applied.entry).hostname
        with self._front_door_held():
            self.front_door.withdraw(record.user, hostname, context.deadline)
            if record.phase is Phase.ACTIVE:
                self.records.put(replace(record, phase=Phase.RESTORED))

    def _front_door_held(self) -> AbstractContextManager[None]:
        """`boot`, which others run, sees the front door and the records agree."""
        return locks.front_door(self.config)

    def _stop(self, deadline: Deadline, record: Record, layout: Layout) -> None:
        """End all that runs as the user, and let nothing of it begin again."""
        manager = UserManager(self.config, layout)
        runs = manager.runs(deadline)
        begun = runs or record.phase is not Phase.INACTIVE or logins.is_open(record.user)
        logins.end(self.config, layout.user, layout.uid)
        if begun:
            user_apply(self.config, layout, deadline, [steps.StopUnits(runs)])
        manager.stop(deadline)
        if begun:
            user_apply(self.config, layout, deadline, [steps.EndProcesses()])

    def _layout(self, of: Record | Environment) -> Layout:
        return layout_of(self.config, of.user, of.uid, of.codebase)

    def _as_user(self, context: Context, layout: Layout, wanted: list[Step]) -> Mapping[type[Step], object]:
        return user_apply(self.config, layout, context.deadline, wanted)

    def _tidy(self, deadline: Deadline, record: Record, paths: Sequence[Path]) -> None:
        """Remove the paths and what no release of the record needs; what cannot be removed is noted."""
        applied = [record.applied, *([record.previous] if record.previous else [])]
        keep = [each.release for each in applied if each.release is not None]
        wanted = steps.Tidy(tuple(map(str, paths)), tuple(keep))
        user_apply(self.config, self._layout(record), deadline, [wanted])


@contextmanager
def _reported() -> Iterator[None]:
    """Every error of an operation is one of those that `Operations` promises."""
    try:
        yield
    except (OperationFailed, Unreachable):
        raise
    except CommandTimedOut as error:
        raise OperationTimedOut(str(error)) from error
    except (HostenvError, OSError) as error:
        raise OperationFailed(str(error)) from error
