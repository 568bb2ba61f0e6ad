use base64::engine::general_purpose::STANDARD;

use super::*;

/// The key of this name in `keys.txt`.
fn key(name: &str) -> &'static str {
    let all = include_str!("keys.txt");
    let (_, rest) = all.split_once(&format!("=== {name}\n")).expect(name);
    rest.split("=== ").next().unwrap_or_default()
}

/// Reads a key, and returns its public key or the error.
fn public(text: &str, passphrase: Option<&str>) -> Result<String, String> {
    let passphrase = passphrase.map(SecretString::from);
    let read = read(&SecretString::from(text), passphrase.as_ref());
    let shown = read.map(|key| key.public_key().to_openssh().unwrap());
    shown.map_err(|error| error.to_string())
}

#[track_caller]
fn check(text: &str, passphrase: Option<&str>, expected: Result<(), &str>) {
    let openssh = key("openssh.pub").split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let found = public(text, passphrase).map(|found| found.trim_end().to_owned());
    let expected = match expected {
        Ok(()) => Ok(openssh),
        Err(reason) => Err(format!("reading `sftp_private_key`: {reason}")),
    };
    assert_eq!(found, expected, "{}", text.lines().next().unwrap_or_default());
}

const PLAIN: [&str; 7] = ["ec-params", "ec", "p8", "openssh", "v2", "v3", "bag"];

#[test]
fn a_plain_key_is_read_whatever_wrote_it() {
    for name in PLAIN {
        check(key(name), None, Ok(()));
        check(key(name), Some("not needed"), Ok(()));
    }
    let cert_and_key = format!("{}{}", key("cert"), key("ec"));
    check(&cert_and_key, None, Ok(()));
}

#[test]
fn an_encrypted_key_is_read_whatever_encrypted_it() {
    for name in [
        "ec-des3",
        "ec-des",
        "ec-aes128",
        "ec-aes192",
        "ec-aes256",
        "p8-aes128",
        "p8-aes192",
        "p8-aes256",
        "p8-des",
        "p8-des3",
        "p8-sha1",
        "p8-sha512",
        "p8-scrypt",
        "o-3des-cbc",
        "o-aes128-cbc",
        "o-aes192-cbc",
        "o-aes256-cbc",
        "o-aes128-ctr",
        "o-aes192-ctr",
        "o-aes256-ctr",
        "o-aes128-gcm@openssh.com",
        "o-aes256-gcm@openssh.com",
        "o-chacha20-poly1305@openssh.com",
        "v2e",
        "v3e",
    ] {
        check(key(name), Some("secret"), Ok(()));
        check(key(name), None, Err(NO_PASSPHRASE));
        check(key(name), Some("guess"), Err(WRONG_PASSPHRASE));
    }
}

#[test]
fn a_cipher_that_is_not_supported_is_named_with_the_command_that_converts() {
    let anew = "which is not supported; `openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE` encrypts it \
                anew";
    for (name, cipher) in [
        ("p8-camellia", "Camellia"),
        ("p8-pbe-sha1-3des", "PBE-SHA1-3DES"),
        ("p8-pbe-md5-des", "PBE-MD5-DES"),
        ("p8-pbe-rc2", "a cipher of PKCS #12"),
    ] {
        let expected = format!("it is encrypted with {cipher}, {anew}");
        check(key(name), Some("secret"), Err(&expected));
    }
    let expected = "it is encrypted with `CAMELLIA-128-CBC`, which is not supported; `ssh-keygen -p -f \
                    FILE` encrypts it anew";
    check(key("ec-camellia128"), Some("secret"), Err(expected));
}

#[test]
fn a_key_is_read_however_a_console_mangled_it() {
    for name in PLAIN {
        let text = key(name);
        check(text.trim_end(), None, Ok(()));
        check(&text.replace('\n', "\r\n"), None, Ok(()));
        check(&text.replace('\n', "\\n"), None, Ok(()));
        check(&text.replace('\n', "\\r\\n"), None, Ok(()));
        check(&text.replace('\n', "\n    "), None, Ok(()));
        check(&format!("\n\n   {text}\n"), None, Ok(()));
        check(&format!("\u{feff}{text}"), None, Ok(()));
        check(&format!("\"{}\"", text.trim_end()), None, Ok(()));
        check(&format!("'{text}'"), None, Ok(()));
        check(&STANDARD.encode(text), None, Ok(()));
        check(&text.chars().flat_map(|c| [c, '\0']).collect::<String>(), None, Ok(()));
    }
    for name in ["ec-params", "ec", "p8", "openssh", "v2", "v3"] {
        check(&key(name).replace('\n', " "), None, Ok(()));
    }
    check(&key("v3e").replace('\n', " "), Some("secret"), Ok(()));
    check(&key("ec-aes256").replace('\n', " "), Some("secret"), Ok(()));
}

#[test]
fn a_key_is_read_without_its_first_and_last_line() {
    for (name, passphrase) in [
        ("ec", None),
        ("p8", None),
        ("openssh", None),
        ("p8-aes256", Some("secret")),
        ("o-aes256-ctr", Some("secret")),
    ] {
        let body: Vec<_> = key(name).lines().filter(|line| !line.starts_with("---")).collect();
        check(&body.join("\n"), passphrase, Ok(()));
        check(&body.concat(), passphrase, Ok(()));
    }
    let pkcs12 = "MIID/AIBAzCCA7IGCSqGSIb3DQEHAaCCA6MEggOf";
    let reason =
        "it is a PKCS #12 file; `openssl pkcs12 -in FILE -nodes -nocerts` takes the key out of it";
    check(pkcs12, None, Err(reason));
}

#[test]
fn other_kinds_of_keys_are_read_or_named() {
    let algorithm = |name: &str, passphrase: Option<&str>| {
        public(key(name), passphrase)
            .map(|key| key.split(' ').next().unwrap_or_default().to_owned())
    };
    for (name, expected) in [
        ("rsa", "ssh-rsa"),
        ("rsa-des3", "ssh-rsa"),
        ("secp384r1", "ecdsa-sha2-nistp384"),
        ("secp521r1", "ecdsa-sha2-nistp521"),
        ("ed25519", "ssh-ed25519"),
    ] {
        assert_eq!(algorithm(name, Some("secret")).as_deref(), Ok(expected), "{name}");
    }
    for (name, oid) in [("secp256k1", "1.3.132.0.10"), ("ed448", "1.3.101.113")] {
        let reason = format!("it is a key of the kind `{oid}`, which is not supported for SSH");
        check(key(name), None, Err(&reason));
    }
}

#[test]
fn what_is_no_private_key_is_refused_without_showing_it() {
    let cut = "it is cut short: its last line `-----END OPENSSH PRIVATE KEY-----` is missing";
    for (text, reason) in [
        ("hunter2", UNKNOWN),
        ("", UNKNOWN),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----",
            UNKNOWN,
        ),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n", cut),
        ("-----BEGIN RSA PRIVATE KEY-----\nä\n-----END RSA PRIVATE KEY-----", UNKNOWN),
        ("PuTTY-User-Key-File-3: hunter2\nEncryption: none\n", UNKNOWN),
        (key("openssh.pub"), PUBLIC),
        (key("pub"), PUBLIC),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", PUBLIC),
        (key("cert"), CERTIFICATE),
        ("ssh-ed25519-cert-v01@openssh.com AAAAIHNz", CERTIFICATE),
        (
            "-----BEGIN DSA PRIVATE KEY-----\nMIIB\n-----END DSA PRIVATE KEY-----",
            "it is a DSA key, which servers no longer take",
        ),
    ] {
        check(text, None, Err(reason));
    }
}
