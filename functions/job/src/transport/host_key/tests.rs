use super::*;

const ED25519: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIF/JEOihbVcAjVU7X8HjD7vE902pJxbFWUXg1557ng4W";
const ECDSA: &str = "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBP5mPNfitvNJ9bCRlkys3xCj3HEpVJhc\
                     vHPdiV/9CT6Jxomu7UhDjaMuI3Y5NiPupa1XwjTe7yZI8BPV94RZNx8=";
const SHA256: &str = "ytIi5KErkowO6G/rNTlfnd85wZofv+ybNOgAvbKe1AI";

/// A pin as short text: `-` if it is revoked, the type, and the fingerprint or `key`.
fn shown(pin: &HostKeyPin) -> String {
    let key = match &pin.key {
        PinnedKey::Sha256(digest) => digest.clone(),
        PinnedKey::Blob(blob) if STANDARD.encode(blob) == ED25519 => "key".to_owned(),
        PinnedKey::Blob(blob) => format!("{} bytes", blob.len()),
    };
    let key_type = pin.key_type.map_or("?", HostKeyType::name);
    format!("{}{key_type} {key}", if pin.is_revoked { "-" } else { "" })
}

#[track_caller]
fn check(text: &str, expected: Result<&[&str], &str>) {
    let found = parse_host_keys(text).map_err(|error| error.to_string());
    let found: Result<Vec<_>, _> = found.map(|pins| pins.iter().map(shown).collect());
    let expected = expected.map(|pins| pins.iter().map(ToString::to_string).collect());
    assert_eq!(found, expected.map_err(str::to_owned), "{text}");
}

#[test]
fn a_fingerprint_is_read_as_the_tools_print_it() {
    let hexadecimal = "cad222e4a12b928c0ee86feb35395f9ddf39c19a1fbfec9b34e800bdb29ed402";
    let unknown = format!("? {SHA256}");
    let [ed25519, rsa, p384] =
        ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp384"].map(|name| format!("{name} {SHA256}"));
    for (text, expected) in [
        (format!("SHA256:{SHA256}"), &unknown),
        (format!(" SHA256:{SHA256}=\r\n"), &unknown),
        (format!("ssh-rsa SHA256:{SHA256}"), &rsa),
        (format!("rsa-sha2-512 SHA256:{SHA256}"), &rsa),
        (format!("256 SHA256:{SHA256} no comment (ED25519)"), &ed25519),
        (format!("384 SHA256:{SHA256} root@h (ECDSA)"), &p384),
        (format!("2048 SHA256:{SHA256} no comment (RSA)"), &rsa),
        (format!("ED25519 key fingerprint is SHA256:{SHA256}."), &ed25519),
        (format!("ssh-ed25519 255 {SHA256}="), &ed25519),
        (hexadecimal.to_owned(), &unknown),
    ] {
        check(&text, Ok(&[expected]));
    }
}

#[test]
fn a_key_is_read_from_any_file_that_holds_it() {
    let ssh2 = format!(
        "---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"a \\\nb\"\n{}\n{}\n---- END SSH2 PUBLIC KEY ----\n",
        &ED25519[..40],
        &ED25519[40..]
    );
    for text in [
        format!("ssh-ed25519 {ED25519}"),
        format!("\u{feff}ssh-ed25519 {ED25519} root@partner"),
        format!("sftp.example,10.0.0.1 ssh-ed25519 {ED25519}"),
        format!("[sftp.example]:2222 ssh-ed25519 {ED25519}"),
        format!(
            "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 {ED25519}"
        ),
        format!(
            "# h:22 SSH-2.0-OpenSSH_9.2\n\nh ssh-ed25519 {ED25519}\n# h:22 SSH-2.0-OpenSSH_9.2\n"
        ),
        ssh2,
    ] {
        check(&text, Ok(&["ssh-ed25519 key"]));
    }
}

#[test]
fn several_lines_are_several_keys_and_a_marked_one_is_revoked() {
    let text = format!(
        "h ssh-ed25519 {ED25519}\nh ecdsa-sha2-nistp256 {ECDSA}\n@revoked * ssh-ed25519 {ED25519}"
    );
    let expected = ["ssh-ed25519 key", "ecdsa-sha2-nistp256 104 bytes", "-ssh-ed25519 key"];
    check(&text, Ok(&expected));
    check(&text.replace('\n', "\\n"), Ok(&expected));
    check(&format!("@revoked SHA256:{SHA256}"), Ok(&[&format!("-? {SHA256}")]));
}

#[test]
fn comments_and_empty_lines_are_skipped() {
    for text in ["", "\n", "# h:22 SSH-2.0-OpenSSH_9.2"] {
        check(text, Ok(&[]));
    }
}

#[test]
fn what_names_no_key_is_refused_with_what_it_is() {
    let weak = |name: &str| {
        format!(
            "is a fingerprint made with {name}, which can be forged; `ssh-keygen -l -E sha256` shows \
             the one to give"
        )
    };
    let md5 = "c0:ac:bd:60:15:ec:b2:0b:ed:e4:6b:11:f9:7d:43:3e";
    let damaged =
        "is a damaged public key: the text behind `ssh-ed25519` is cut short, or another \
                   type's"
            .to_owned();
    for (text, expected) in [
        ("SHA256:abc", NO_KEY.to_owned()),
        ("ssh-ed25519", NO_KEY.to_owned()),
        (&format!("MD5:{md5}"), weak("MD5")),
        (md5, weak("MD5")),
        (&format!("256 MD5:{md5} no comment (ED25519)"), weak("MD5")),
        ("SHA1:RhEY4P2aUgb4AO7FQyO2bQzUzbE", weak("SHA-1")),
        (&format!("ssh-ed25519 {}", &ED25519[..40]), damaged.clone()),
        (&format!("ssh-ed25519 {ECDSA}"), damaged),
        (
            "ssh-dss AAAAB3NzaC1kc3MAAACB",
            "is a key of type `ssh-dss`, which is not supported".to_owned(),
        ),
        (
            "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQt",
            "is a certificate, and those of hosts are not supported; give the server's own key"
                .to_owned(),
        ),
        (
            &format!("@cert-authority *.example ssh-ed25519 {ED25519}"),
            "is marked `@cert-authority`, and certificates of hosts are not supported; give the \
             server's own key"
                .to_owned(),
        ),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2",
            "line 1 is a private key; the server's public key belongs here".to_owned(),
        ),
        (&format!("SHA256:{SHA256}\n\nhunter2"), format!("line 3 {NO_KEY}")),
    ] {
        check(text, Err(&expected));
    }
}
