import java.nio.file.Paths;
import java.util.List;
import org.apache.sshd.common.file.virtualfs.VirtualFileSystemFactory;
import org.apache.sshd.server.SshServer;
import org.apache.sshd.server.keyprovider.SimpleGeneratorHostKeyProvider;
import org.apache.sshd.sftp.server.SftpSubsystemFactory;

/** Apache MINA's SFTP server over a folder: MinaServer PORT FOLDER USER PASSWORD. */
public class MinaServer {
    public static void main(String[] args) throws Exception {
        SshServer server = SshServer.setUpDefaultServer();
        server.setHost("127.0.0.1");
        server.setPort(Integer.parseInt(args[0]));
        SimpleGeneratorHostKeyProvider keys = new SimpleGeneratorHostKeyProvider();
        keys.setAlgorithm("EC");
        server.setKeyPairProvider(keys);
        server.setPasswordAuthenticator((user, password, session) -> {
            boolean isRight = user.equals(args[2]) && password.equals(args[3]);
            if (isRight) {
                System.out.println(user + " has logged in");
            }
            return isRight;
        });
        server.setFileSystemFactory(new VirtualFileSystemFactory(Paths.get(args[1])));
        server.setSubsystemFactories(List.of(new SftpSubsystemFactory()));
        server.start();
        Thread.sleep(Long.MAX_VALUE);
    }
}
