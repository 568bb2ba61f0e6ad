//! Delivery by SFTP.

#[cfg_attr(not(test), expect(dead_code, reason = "the delivery is built on it next"))]
mod protocol;
#[cfg_attr(not(test), expect(dead_code, reason = "the delivery is built on it next"))]
mod readback;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "the delivery is built on it next")
)]
mod session;
#[cfg_attr(not(test), expect(dead_code, reason = "the delivery is built on it next"))]
mod upload;
