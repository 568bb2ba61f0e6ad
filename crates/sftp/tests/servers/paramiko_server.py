"""paramiko's SFTP server over a folder: paramiko_server.py PORT FOLDER USER PASSWORD.

The interface is implemented as paramiko's own example does it, with a thread for each connection.
"""
import os
import socket
import sys
import threading

import paramiko

PORT, FOLDER, USER, PASSWORD = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
KEY = paramiko.RSAKey.generate(2048)


class Login(paramiko.ServerInterface):
    def check_auth_password(self, username, password):
        if (username, password) != (USER, PASSWORD):
            return paramiko.AUTH_FAILED
        print(username, "has logged in", flush=True)
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username):
        return "password"

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED


class Handle(paramiko.SFTPHandle):
    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


def told(action):
    """Makes a request, and returns the status that tells how it ended."""
    try:
        action()
    except OSError as error:
        return paramiko.SFTPServer.convert_errno(error.errno)
    return paramiko.SFTP_OK


class Files(paramiko.SFTPServerInterface):
    def real(self, path):
        return FOLDER + self.canonicalize(path)

    def look(self, path, stat):
        try:
            return paramiko.SFTPAttributes.from_stat(stat(self.real(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def stat(self, path):
        return self.look(path, os.stat)

    def lstat(self, path):
        return self.look(path, os.lstat)

    def open(self, path, flags, attr):
        try:
            fd = os.open(self.real(path), flags, 0o666)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        mode = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
        handle = Handle(flags)
        handle.readfile = handle.writefile = os.fdopen(fd, mode)
        return handle

    def remove(self, path):
        return told(lambda: os.remove(self.real(path)))

    def rename(self, oldpath, newpath):
        if os.path.exists(self.real(newpath)):
            return paramiko.SFTP_FAILURE
        return told(lambda: os.rename(self.real(oldpath), self.real(newpath)))

    def posix_rename(self, oldpath, newpath):
        return told(lambda: os.replace(self.real(oldpath), self.real(newpath)))

    def mkdir(self, path, attr):
        return told(lambda: os.mkdir(self.real(path)))


def serve(connection):
    transport = paramiko.Transport(connection)
    transport.add_server_key(KEY)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    try:
        transport.start_server(server=Login())
        transport.join()
    except Exception as error:
        print("a connection has ended:", repr(error), flush=True)


listener = socket.create_server(("127.0.0.1", PORT), backlog=20)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
