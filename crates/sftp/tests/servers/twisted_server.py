"""Twisted's SFTP server over a folder: twisted_server.py PORT FOLDER USER PASSWORD.

Twisted serves accounts of the machine. Here the process's own account gets the folder as the root.
"""
import os
import sys

from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.conch import avatar, unix
from twisted.conch.ssh import connection, factory, filetransfer, keys, session, userauth
from twisted.cred import checkers, portal
from twisted.internet import reactor
from twisted.python import components
from zope.interface import implementer

PORT, FOLDER, USER, PASSWORD = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
KEY = keys.Key(ed25519.Ed25519PrivateKey.generate())


class Account(avatar.ConchUser):
    def __init__(self):
        super().__init__()
        self.channelLookup[b"session"] = session.SSHSession
        self.subsystemLookup[b"sftp"] = filetransfer.FileTransferServer

    def getUserGroupId(self):
        return None, None

    def getHomeDir(self):
        return FOLDER

    def _runAsUser(self, function, *args, **named):
        try:
            calls = iter(function)
        except TypeError:
            calls = [(function, args, named)]
        for call in calls:
            result = call[0](*(call[1] if len(call) > 1 else ()), **(call[2] if len(call) > 2 else {}))
        return result


class Files(unix.SFTPServerForUnixConchUser):
    def _absPath(self, path):
        return os.path.join(FOLDER.encode(), path.lstrip(b"/"))

    def _setAttrs(self, path, attributes):
        pass


components.registerAdapter(Files, Account, filetransfer.ISFTPServer)


@implementer(portal.IRealm)
class Realm:
    def requestAvatar(self, avatar_id, mind, *wanted):
        print(avatar_id.decode(), "has logged in", flush=True)
        return wanted[0], Account(), lambda: None


class Server(factory.SSHFactory):
    privateKeys = {KEY.sshType(): KEY}
    publicKeys = {KEY.sshType(): KEY.public()}
    services = {
        b"ssh-userauth": userauth.SSHUserAuthServer,
        b"ssh-connection": connection.SSHConnection,
    }


passwords = checkers.InMemoryUsernamePasswordDatabaseDontUse()
passwords.addUser(USER.encode(), PASSWORD.encode())
Server.portal = portal.Portal(Realm(), [passwords])
reactor.listenTCP(PORT, Server(), interface="127.0.0.1")
reactor.run()
