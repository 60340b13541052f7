//! How a start travels to a warm interpreter: a parcel of descriptors over a socket, one of which holds the [`Order`].
//!
//! Whoever receives the parcel forks, and only the fork reads the order: an interpreter that had read it would hand the
//! arguments and the environment of one execution to the memory of the next.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, fstat, memfd_create};
use rustix::io::{Errno, pread, retry_on_intr, write};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::{Identity, Start};
use crate::rlimit::Rlimits;
use crate::seccomp;

/// The descriptors that a warm interpreter is started with: its end of the socket, and the module that serves there.
pub const SOCKET: i32 = 4;
/// See [`SOCKET`].
pub const MODULE: i32 = 5;

/// Most descriptors of a parcel: nine at most of its own, the rest lead into control groups.
const MOST_DESCRIPTORS: usize = 32;

/// What the fork is to become, but for what stands in descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub cwd: String,
    pub identity: Identity,
    pub grouped: bool,
    pub rlimits: Rlimits,
    pub not_before_unix_ns: u64,
    pub memory: seccomp::Memory,
    /// As for execve(2).
    pub argv: Vec<Vec<u8>>,
    pub env: Vec<Vec<u8>>,
}

impl Order {
    /// As bytes: eight for each number, texts after their lengths.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let limits = &self.rlimits;
        let given = [limits.nproc, limits.fsize, limits.data, limits.stack];
        let mut writer = Writer(Vec::with_capacity(4096));
        for flag in [self.identity.change, self.grouped, self.memory == seccomp::Memory::Counted] {
            writer.number(u64::from(flag));
        }
        let numbers = [
            u64::from(self.identity.uid),
            u64::from(self.identity.gid),
            self.not_before_unix_ns,
            limits.nofile,
            limits.core,
            limits.memlock,
            limits.msgqueue,
            limits.sigpending,
            limits.rtprio,
            limits.nice,
        ];
        numbers.into_iter().for_each(|number| writer.number(number));
        for limit in given {
            writer.number(u64::from(limit.is_some()));
            writer.number(limit.unwrap_or(0));
        }
        writer.text(self.cwd.as_bytes());
        for list in [&self.argv, &self.env] {
            writer.number(list.len() as u64);
            list.iter().for_each(|text| writer.text(text));
        }
        writer.0
    }

    /// The reverse of [`encode`](Self::encode); `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (change, grouped, counted) = (reader.flag()?, reader.flag()?, reader.flag()?);
        let (uid, gid) = (u32::try_from(reader.number()?).ok()?, u32::try_from(reader.number()?).ok()?);
        let not_before_unix_ns = reader.number()?;
        let mut rlimits = Rlimits {
            nofile: reader.number()?,
            core: reader.number()?,
            memlock: reader.number()?,
            msgqueue: reader.number()?,
            sigpending: reader.number()?,
            rtprio: reader.number()?,
            nice: reader.number()?,
            ..Rlimits::default()
        };
        rlimits.nproc = reader.given()?;
        rlimits.fsize = reader.given()?;
        rlimits.data = reader.given()?;
        rlimits.stack = reader.given()?;
        let cwd = String::from_utf8(reader.text()?).ok()?;
        let (argv, env) = (reader.list()?, reader.list()?);
        let memory = if counted { seccomp::Memory::Counted } else { seccomp::Memory::Watched };
        let identity = Identity { uid, gid, change };
        let order = Self { cwd, identity, grouped, rlimits, not_before_unix_ns, memory, argv, env };
        reader.0.is_empty().then_some(order)
    }

    /// As a file of memory.
    ///
    /// # Errors
    /// The kernel has no room for it.
    pub fn to_file(&self) -> rustix::io::Result<OwnedFd> {
        let file = memfd_create(c"order", MemfdFlags::CLOEXEC)?;
        let bytes = self.encode();
        let mut left = &bytes[..];
        while !left.is_empty() {
            left = &left[retry_on_intr(|| write(&file, left))?..];
        }
        Ok(file)
    }

    /// Reads what [`to_file`](Self::to_file) made.
    ///
    /// # Errors
    /// `EBADMSG` when it is nothing of the kind.
    pub fn from_file(file: &OwnedFd) -> rustix::io::Result<Self> {
        let size = usize::try_from(fstat(file)?.st_size).map_err(|_| Errno::BADMSG)?;
        let mut bytes = vec![0; size];
        let mut at = 0;
        while at < size {
            match retry_on_intr(|| pread(file, &mut bytes[at..], at as u64))? {
                0 => return Err(Errno::BADMSG),
                got => at += got,
            }
        }
        Self::decode(&bytes).ok_or(Errno::BADMSG)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn flag(&mut self) -> Option<bool> {
        self.number().map(|number| number != 0)
    }

    fn given(&mut self) -> Option<Option<u64>> {
        let (is_given, number) = (self.flag()?, self.number()?);
        Some(is_given.then_some(number))
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text.to_vec())
    }

    fn list(&mut self) -> Option<Vec<Vec<u8>>> {
        let length = usize::try_from(self.number()?).ok()?;
        // Each takes eight bytes at least, so a false length asks for no memory.
        if length > self.0.len() / 8 {
            return None;
        }
        (0..length).map(|_| self.text()).collect()
    }
}

/// The descriptors of one start.
#[derive(Debug)]
pub struct Parcel<Fd> {
    /// The file of an [`Order`].
    pub order: Fd,
    /// Where it tells what keeps it from starting.
    pub report: Fd,
    pub stdio: [Fd; 3],
    /// Where an [`init`](super::init) tells how the code ended; with it the code has a PID namespace of its own.
    pub end: Option<Fd>,
    /// The directory of the version 2 group that it is born into.
    pub group: Option<Fd>,
    pub result: Option<Fd>,
    pub fence: Option<Fd>,
    pub gates: Vec<Fd>,
    pub groups: Vec<Fd>,
}

impl Parcel<BorrowedFd<'_>> {
    /// Sends it.
    ///
    /// # Errors
    /// The socket's; `EPIPE` when nobody is there.
    pub fn send(&self, socket: impl AsFd) -> rustix::io::Result<()> {
        let mut descriptors = vec![self.order, self.report];
        descriptors.extend(self.stdio);
        descriptors.extend([self.end, self.group, self.result, self.fence].into_iter().flatten());
        descriptors.extend(&self.gates);
        descriptors.extend(&self.groups);
        if descriptors.len() > MOST_DESCRIPTORS {
            return Err(Errno::MFILE);
        }
        let is = |there: Option<_>| u8::from(there.is_some());
        let count = |list: &[_]| u8::try_from(list.len()).expect("fewer than the most");
        let what = [
            is(self.end),
            is(self.group),
            is(self.result),
            is(self.fence),
            count(&self.gates),
            count(&self.groups),
        ];
        send(socket, &what, &descriptors)
    }
}

impl Parcel<OwnedFd> {
    /// Waits for one. `None`: nobody will send any more.
    ///
    /// # Errors
    /// The socket's; `EBADMSG` when it is incomplete.
    pub fn receive(socket: impl AsFd) -> rustix::io::Result<Option<Self>> {
        let mut what = [0; 6];
        let (got, descriptors) = receive(socket, &mut what, RecvFlags::empty())?;
        if got == 0 {
            return Ok(None);
        }
        let mut rest = descriptors.into_iter();
        let mut next = || rest.next().ok_or(Errno::BADMSG);
        let mut next_if = |there: u8| if there == 0 { Ok(None) } else { next().map(Some) };
        let parcel = Self {
            order: next_if(1)?.ok_or(Errno::BADMSG)?,
            report: next_if(1)?.ok_or(Errno::BADMSG)?,
            stdio: [
                next_if(1)?.ok_or(Errno::BADMSG)?,
                next_if(1)?.ok_or(Errno::BADMSG)?,
                next_if(1)?.ok_or(Errno::BADMSG)?,
            ],
            end: next_if(what[0])?,
            group: next_if(what[1])?,
            result: next_if(what[2])?,
            fence: next_if(what[3])?,
            gates: (0..what[4]).map(|_| next_if(1)?.ok_or(Errno::BADMSG)).collect::<Result<_, _>>()?,
            groups: (0..what[5]).map(|_| next_if(1)?.ok_or(Errno::BADMSG)).collect::<Result<_, _>>()?,
        };
        Ok(Some(parcel))
    }

    /// What the fork starts with, and where it reports.
    #[must_use]
    pub fn start(self, order: &Order) -> Start {
        Start {
            cwd: order.cwd.clone(),
            identity: order.identity,
            stdio: self.stdio,
            terminal: false,
            result: self.result,
            groups: self.groups,
            grouped: order.grouped,
            rlimits: order.rlimits.clone(),
            userns: None,
            gates: self.gates,
            not_before_unix_ns: order.not_before_unix_ns,
        }
    }
}

/// Says `number`, with a descriptor or without: how the interpreter answers.
///
/// # Errors
/// The socket's.
pub fn answer(socket: impl AsFd, number: i32, descriptor: Option<BorrowedFd<'_>>) -> rustix::io::Result<()> {
    send(socket, &number.to_le_bytes(), descriptor.as_slice())
}

/// Hears what [`answer`] said. With `flags`, does not wait (`EAGAIN`). The end of the socket is `EPIPE`.
///
/// # Errors
/// The socket's.
pub fn hear(socket: impl AsFd, flags: RecvFlags) -> rustix::io::Result<(i32, Option<OwnedFd>)> {
    let mut number = [0; 4];
    match receive(socket, &mut number, flags)? {
        (4, descriptors) => Ok((i32::from_le_bytes(number), descriptors.into_iter().next())),
        _ => Err(Errno::PIPE),
    }
}

fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "space for the most");
    retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)).map(|_| ())
}

fn receive(
    socket: impl AsFd,
    into: &mut [u8],
    flags: RecvFlags,
) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got = retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(into)], &mut control, flags))?.bytes;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((got, descriptors))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn order() -> Order {
        Order {
            cwd: "/workspace".to_owned(),
            identity: Identity { uid: 1000, gid: 1000, change: true },
            grouped: true,
            rlimits: Rlimits { nproc: Some(0), data: Some(7), ..Rlimits::default() },
            not_before_unix_ns: 5,
            memory: seccomp::Memory::Watched,
            argv: vec![b"python3".to_vec(), b"\xff".to_vec(), Vec::new()],
            env: vec![b"A=\n".to_vec()],
        }
    }

    #[test]
    fn an_order_comes_back_as_it_was() {
        assert_eq!(Order::decode(&order().encode()), Some(order()));
        assert_eq!(Order::from_file(&order().to_file().unwrap()), Ok(order()));
    }

    #[test]
    fn what_is_cut_or_continued_is_none() {
        let bytes = order().encode();
        for length in 0..bytes.len() {
            assert_eq!(Order::decode(&bytes[..length]), None, "{length}");
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert_eq!(Order::decode(&longer), None);
    }

    #[test]
    fn a_parcel_comes_with_all_it_had() {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let file = order().to_file().unwrap();
        let fd = file.as_fd();
        let parcel = Parcel {
            order: fd,
            report: fd,
            stdio: [fd; 3],
            end: None,
            group: Some(fd),
            result: None,
            fence: Some(fd),
            gates: vec![fd],
            groups: vec![fd; 3],
        };
        parcel.send(&ours).unwrap();
        let came = Parcel::receive(&theirs).unwrap().unwrap();
        assert_eq!((came.end.is_some(), came.group.is_some(), came.result.is_some()), (false, true, false));
        assert_eq!((came.fence.is_some(), came.gates.len(), came.groups.len()), (true, 1, 3));
        assert_eq!(Order::from_file(&came.order), Ok(order()));
        answer(&theirs, -5, Some(fd)).unwrap();
        let (number, descriptor) = hear(&ours, RecvFlags::empty()).unwrap();
        assert_eq!((number, descriptor.is_some()), (-5, true));
        drop(theirs);
        assert_eq!(hear(&ours, RecvFlags::empty()).unwrap_err(), Errno::PIPE);
    }
}
