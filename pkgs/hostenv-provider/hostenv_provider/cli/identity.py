"""Who a command runs as: the service's user, so that what it writes is the service's."""

import grp
import os
import pwd

from hostenv_core.errors import HostenvError

from hostenv_provider.config import Config


def become_service_user(config: Config) -> None:
    """Root becomes the service's user permanently; for that user itself nothing changes.

    Raises HostenvError for anybody else, and if there is no such user.
    """
    try:
        account = pwd.getpwnam(config.user)
    except KeyError:
        raise HostenvError(
            f"there is no user {config.user!r}: install hostenv-provider, or correct user"
        ) from None
    if os.geteuid() == 0 and account.pw_uid != 0:
        groups = [group.gr_gid for group in grp.getgrall() if config.user in group.gr_mem]
        os.setgroups([account.pw_gid, *groups])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    elif os.geteuid() != account.pw_uid:
        raise HostenvError(f"run this as root or as {config.user}")
    os.environ["HOME"] = str(config.data_dir)
    os.umask(0o027)
