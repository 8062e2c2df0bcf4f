"""Say which stores there are, and how this machine uses them."""

from __future__ import annotations

from .. import results
from ._caller import Caller, Path

class Settings(Caller):
    """Say which stores there are, and how this machine uses them."""

    def remotes(self) -> results.RemoteList:
        """The configured stores: ``modelkeep remote list``.

        Returns
        -------
        RemoteList
            The stores.
        """
        return results.RemoteList(self._call("remotes"))

    def remote_add(self, name: str, url: Path, *, account: str | None = None) -> results.RemoteItem:
        """Configures a store, and makes its tree: ``modelkeep remote add``.

        Parameters
        ----------
        name : str
            What to call it.
        url : str or path-like
            Where it is.
        account : str, optional
            On Drive, whose login is used.

        Returns
        -------
        RemoteItem
            The store.
        """
        return results.RemoteItem.of(self._call("remote-add", name=name, url=url, account=account))

    def remote_show(self, name: str) -> results.RemoteItem:
        """One configured store: ``modelkeep remote show``.

        Parameters
        ----------
        name : str
            What it is called.

        Returns
        -------
        RemoteItem
            The store.
        """
        return results.RemoteItem.of(self._call("remote-show", name=name))

    def remote_remove(self, name: str) -> results.RemoteItem:
        """Takes a store out of the settings; the store itself stays: ``modelkeep remote remove``.

        Parameters
        ----------
        name : str
            What it is called.

        Returns
        -------
        RemoteItem
            The store.
        """
        return results.RemoteItem.of(self._call("remote-remove", name=name))

    def remote_test(self, name: str | None = None) -> results.RemoteTest:
        """Whether a store can be reached, and what it can do: ``modelkeep remote test``.

        Parameters
        ----------
        name : str, optional
            What it is called; the one in use otherwise.

        Returns
        -------
        RemoteTest
            What was found.
        """
        return results.RemoteTest.of(self._call("remote-test", name=name))

    def remote_share(self, email: str, name: str | None = None, *, read_only: bool = False) -> results.Shared:
        """Lets somebody else's account use a store on Google Drive: ``modelkeep remote share``.

        Parameters
        ----------
        email : str
            Whose. Google tells them by mail.
        name : str, optional
            The store's name or URL; the one in use otherwise.
        read_only : bool, default False
            They may pull, and not push.

        Returns
        -------
        Shared
            With whom it is shared, and the folder's id that they add: ``gdrive:id:FOLDER``.

        Raises
        ------
        UsageError
            When `email` is no address, or the store is not on Google Drive.
        """
        report = self._call("remote-share", email=email, name=name, read_only=read_only)
        return results.Shared.of(report)

    def config(self) -> results.Settings:
        """All settings, and where each comes from: ``modelkeep config show``.

        Returns
        -------
        Settings
            The settings.
        """
        return results.Settings(self._call("config"))

    def config_get(self, key: str) -> results.Setting:
        """One setting: ``modelkeep config get``.

        Parameters
        ----------
        key : str
            Its name.

        Returns
        -------
        Setting
            Its value, and where that comes from.
        """
        return results.Setting.of(self._call("config-get", key=key))

    def config_set(self, key: str, value: object) -> results.Setting:
        """Changes a setting in ``modelkeep.toml``: ``modelkeep config set``.

        Parameters
        ----------
        key : str
            Its name.
        value : object
            Its value, as text.

        Returns
        -------
        Setting
            As it is now.
        """
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return results.Setting.of(self._call("config-set", key=key, value=text))

    def whoami(self) -> results.Who:
        """Who is signed in to Google Drive: ``modelkeep whoami``.

        Returns
        -------
        Who
            The logins, and whose is used here.
        """
        return results.Who.of(self._call("whoami"))

    def logout(self, account: str | None = None) -> results.Logout:
        """Gives a login back to Google, and forgets it: ``modelkeep logout``.

        Parameters
        ----------
        account : str, optional
            Whose; the only one otherwise.

        Returns
        -------
        Logout
            What was given back.
        """
        return results.Logout.of(self._call("logout", account=account))
