//! Ways in which a server differs from a good one.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::lock;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A login.
    Token,
    /// Looking for an item, or at the items of a folder.
    Look,
    /// Making a folder.
    Folder,
    /// Asking for an upload specification.
    Specification,
    /// What a specification wants to be requested before the first byte.
    Prepare,
    /// A file in one request.
    Standard,
    /// A chunk of a file, except one that ends the upload.
    Chunk,
    /// The end of an upload in chunks.
    Finish,
}

/// One way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is done, and the answer is this status without a body.
    Status(u16),
    /// As [`Fault::Status`], with this `Retry-After`; `date` stands for a date 1 s ahead.
    RetryAfter(u16, &'static str),
    /// Nothing is done, and the answer is this status with the API's error object and this reason.
    Reason(u16, &'static str),
    /// Nothing is done, and the answer is the status 200 with an upload's error object and this code.
    ErrorObject(u32),
    /// Nothing is done, and the answer is the status 200 with the text `ERROR:` and this.
    ErrorText(&'static str),
    /// The connection is cut in the middle of the request.
    CutRequest,
    /// What is asked for is done, but the connection is cut before the answer.
    CutAnswer,
    /// Nothing is ever answered.
    Mute,
    /// What is asked for is done, but that is never answered.
    MuteAnswer,
    /// The answer takes so long.
    Slow(Duration),
    /// All tokens are forgotten.
    ForgetTokens,
    /// Uploads need a token.
    WantsToken,
    /// A rejected login is explained with what was sent.
    EchoesCredentials,
    /// The answer points to another address of the API by the status 302.
    Redirects,
    /// The answer points to another address of the API by an object.
    RedirectsByObject,
    /// The folder that is to be made has just been made by somebody else.
    JustMade,
    /// Uploads are made in this way, whatever is asked for.
    Method(&'static str),
    /// Something must be requested before the first byte.
    WantsPrepare,
    /// Upload addresses are not encrypted and on another host.
    OtherHost,
    /// What an earlier upload left is said to have another MD5.
    WrongResumeHash,
    /// What an earlier upload left is forgotten.
    ForgetsResume,
    /// At most so many chunks at the same time are allowed.
    ThreadsMax(usize),
    /// The upload is forgotten.
    ForgetUpload,
    /// The MD5 in the answer is another one.
    WrongMd5,
    /// The size in the answer is another one.
    WrongSize,
    /// The answer has no MD5.
    NoMd5,
    /// The answer is JSON, but nothing that was asked for.
    Gibberish,
    /// The answer is `OK` and nothing else.
    NoDetails,
    /// Nothing is done, and the answer is this status with a page of HTML.
    Page(u16),
    /// Nothing is done, and the answer is this status with this text.
    Text(u16, &'static str),
    /// Nothing is done, and the answer points to this address by the status 302.
    RedirectsTo(&'static str),
    /// The connection is cut before the answer, and the request is done after so long a time.
    DoneLater(Duration),
    /// The uploaded file gets this name.
    StoresAs(&'static str),
}

/// The ways in which a server misbehaves. All clones are the same, so that they can be changed while
/// the server runs. None by default.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Planned>>>);

#[derive(Clone, Debug)]
struct Planned {
    call: Call,
    fault: Fault,
    after: usize,
    times: usize,
}

impl Faults {
    /// This fault, at every such call.
    #[must_use]
    pub fn always(self, call: Call, fault: Fault) -> Self {
        self.after(call, fault, 0, usize::MAX)
    }

    /// This fault, at the next such call.
    #[must_use]
    pub fn once(self, call: Call, fault: Fault) -> Self {
        self.after(call, fault, 0, 1)
    }

    /// This fault, at `times` such calls after the next `after` ones.
    #[must_use]
    pub fn after(self, call: Call, fault: Fault, after: usize, times: usize) -> Self {
        lock(&self.0).push(Planned { call, fault, after, times });
        self
    }

    /// From now on no fault.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The faults of this call, which is counted.
    pub(crate) fn of(&self, call: Call) -> Vec<Fault> {
        let mut planned = lock(&self.0);
        let mut faults = Vec::new();
        for plan in planned.iter_mut().filter(|plan| plan.call == call) {
            if plan.after > 0 {
                plan.after -= 1;
            } else if plan.times > 0 {
                plan.times -= 1;
                faults.push(plan.fault);
            }
        }
        faults
    }
}
