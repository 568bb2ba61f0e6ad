"""asyncssh's SFTP server over a folder: asyncssh_server.py PORT FOLDER USER PASSWORD."""
import asyncio
import sys

import asyncssh

PORT, FOLDER, USER, PASSWORD = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


class Login(asyncssh.SSHServer):
    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        if (username, password) != (USER, PASSWORD):
            return False
        print(username, "has logged in", flush=True)
        return True


async def main():
    await asyncssh.create_server(
        Login,
        "127.0.0.1",
        PORT,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=FOLDER.encode()),
    )
    await asyncio.Event().wait()


asyncio.run(main())
