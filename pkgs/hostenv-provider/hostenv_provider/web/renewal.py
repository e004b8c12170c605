"""New secrets on an operator's word: for all backups, or for all that one node ever had."""

from hostenv_core.names import is_node_name
from hostenv_core.secret_names import RESERVED

from hostenv_provider.secrets.backup_accounts import BackupAccounts
from hostenv_provider.secrets.environment_secrets import EnvironmentSecrets
from hostenv_provider.secrets.tokens import TokenFile
from hostenv_provider.store.store import Store
from hostenv_provider.web.messages import HttpAnswer, HttpError, HttpRequest, optional_flag


class Renewal:
    """Each may be repeated after an interruption, and then has the same result."""

    def __init__(
        self, tokens: TokenFile, store: Store, secrets: EnvironmentSecrets, accounts: BackupAccounts
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._secrets = secrets
        self._accounts = accounts

    def backups(self, request: HttpRequest) -> HttpAnswer:  # noqa: ARG002
        """End all accounts and keys of backups, each once nothing is under way with it."""
        replaced = self._store.replace_accounts()
        self._accounts.end_former()
        shared = self._secrets.shared_accounts()
        moving = [user for user in shared if user in self._store.moving()]
        for user in sorted({*shared}.difference(moving)):
            self._accounts.convert(user)
        return HttpAnswer(200, {"replaced": replaced + len(shared) - len(moving), "later": moving})

    def compromised(self, request: HttpRequest, node: str) -> HttpAnswer:
        """Replace all that a node ever had, at once; with `dryRun` only list it.

        Raises HttpError 404 if nothing was ever given to a node of this name.
        """
        document = request.document()
        hash_salts, dry_run = optional_flag(document, "hashSalts"), optional_flag(document, "dryRun")
        holdings = self._store.holdings(node) if is_node_name(node) else []
        has_token = not self._tokens.missing([node])
        if not holdings and not has_token:
            raise HttpError(404, f"nothing was ever given to a node {node[:80]!r}")
        if not dry_run:
            self._tokens.replace(node)
            held = [holding.user for holding in holdings]
            for user in sorted({*held, *(user for _, user in self._store.accounts(node))}):
                self._accounts.end(node, user)
            for user in held:
                if self._secrets.shared_account(user) is not None:
                    self._accounts.convert(user)
                if hash_salts:
                    self._secrets.renew_salt(user)
        return HttpAnswer(
            200,
            {
                "node": node,
                "token": has_token,
                "environments": [
                    {
                        "user": holding.user,
                        "firstAt": holding.first_at,
                        "lastAt": holding.last_at,
                        "hosted": self._store.part(node, holding.user).hosts,
                        "ownSecrets": sorted((self._secrets.read(holding.user) or {}).keys() - RESERVED),
                    }
                    for holding in holdings
                ],
            },
        )
