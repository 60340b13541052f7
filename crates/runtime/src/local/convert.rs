//! Between the words of this crate and the messages of the protocol.

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::enforcement::{Enforcement, Level};
use sandkeep_core::execution::{Artifact, EndFacts, Exit, Metrics, MetricsSource, NotRunnable};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::output::Stream;
use sandkeep_core::sandbox::Profile;
use sandkeep_protocol::envelope::ConnectError;
use sandkeep_protocol::supervisor as proto;
use sandkeep_protocol::supervisor::__buffa::oneof::{event, root};

use super::Config;
use super::resolve::WORKSPACE;
use super::state::Slots;
use crate::driver::{Ended, Event, Facts, Layer, Root, SandboxSpec};

pub(super) fn sandbox_spec(spec: &SandboxSpec, config: &Config, slot_hint: u32) -> proto::SandboxSpec {
    let slots = Slots::of(config.state.path(), config.id_base);
    let profile = match spec.profile {
        Profile::Strict => proto::Profile::PROFILE_STRICT,
        Profile::Dev => proto::Profile::PROFILE_DEV,
    };
    let kind = match &spec.root {
        Root::Host => root::Kind::Host(Box::default()),
        Root::Directory(path) => root::Kind::Directory(Box::new(proto::DirectoryRoot { path: path.clone() })),
    };
    let mount = |mount: &crate::driver::Mount| proto::Mount {
        source: mount.source.clone(),
        target: mount.target.to_string(),
        read_only: !mount.writable,
    };
    let limits = proto::SandboxLimits {
        memory_bytes: spec.limits.memory.bytes(),
        cpu_millis: spec.limits.cpu.millis(),
        processes: spec.limits.processes,
        disk_bytes: match &spec.layer {
            Layer::Ephemeral => temporary_bytes(spec),
            Layer::Persistent { .. } => spec.limits.disk.bytes(),
        },
        inodes: spec.limits.inodes,
        temporary_bytes: temporary_bytes(spec),
    };
    let layer = match &spec.layer {
        Layer::Ephemeral => buffa::MessageField::none(),
        Layer::Persistent { directory } => {
            buffa::MessageField::some(proto::PersistentLayer { directory: directory.clone() })
        }
    };
    proto::SandboxSpec {
        sandbox_id: spec.id.to_string(),
        incarnation: spec.incarnation,
        profile: profile.into(),
        root: buffa::MessageField::some(proto::Root { kind: Some(kind) }),
        mounts: spec.mounts.iter().map(mount).collect(),
        limits: buffa::MessageField::some(limits),
        hostname: "sandbox".to_owned(),
        id_base: config.id_base,
        slot_hint,
        slots_directory: slots.directory.to_string_lossy().into_owned(),
        group: slots.group,
        layer,
        ceiling_bytes: config.ceiling.bytes(),
        ..Default::default()
    }
}

/// Of a sandbox that was found again, what starts in it depends on.
pub(super) fn root_and_profile(spec: &proto::SandboxSpec) -> Option<(Root, Profile)> {
    let root = match spec.root.as_option()?.kind.as_ref()? {
        root::Kind::Host(_) => Root::Host,
        root::Kind::Directory(directory) => Root::Directory(directory.path.clone()),
    };
    let profile = match spec.profile.as_known()? {
        proto::Profile::PROFILE_STRICT => Profile::Strict,
        proto::Profile::PROFILE_DEV => Profile::Dev,
        proto::Profile::PROFILE_UNSPECIFIED => return None,
    };
    Some((root, profile))
}

/// What is written and not kept lives in memory, and pages of it count there: more than half of the memory limit would
/// make a full disk kill every later execution.
fn temporary_bytes(spec: &SandboxSpec) -> u64 {
    spec.limits.disk.bytes().min(spec.limits.memory.bytes() / 2)
}

pub(super) fn enforcement(booted: &proto::Booted) -> Enforcement {
    let mut all = Enforcement::full();
    for one in &booted.enforcement {
        let Some(limit) = one.limit.as_known().and_then(limit_kind) else { continue };
        let level = match one.level.as_known() {
            Some(proto::Level::LEVEL_KERNEL) => continue,
            Some(proto::Level::LEVEL_WATCHED) => Level::Watched,
            Some(proto::Level::LEVEL_NONE | proto::Level::LEVEL_UNSPECIFIED) | None => Level::None,
        };
        all.lower(limit, level, &one.cause, &one.remedy);
    }
    all
}

pub(super) fn facts(booted: &proto::Booted, supervisor_pid: u32) -> Facts {
    Facts {
        supervisor_pid,
        agent_pid: booted.agent_pid,
        slot: booted.slot,
        user_host_id: booted.user_host_id,
        agent_host_id: booted.agent_host_id,
        id_count: booted.id_count,
        landlock_abi: booted.landlock_abi,
    }
}

/// A problem that a supervisor reported; one whose code we do not know keeps its text.
pub(super) fn problem(problem: &proto::Problem) -> Problem {
    let code = known_code(&problem.code).unwrap_or(ErrorCode::SandboxFailed);
    Problem {
        code,
        message: problem.message.clone(),
        value: problem.value.clone(),
        expected: problem.expected.clone(),
    }
}

/// A refused call: the text begins with one of our codes where it has one.
pub(super) fn refusal(error: &ConnectError) -> Problem {
    let (code, text) = error.message.split_once(": ").unwrap_or(("", error.message.as_str()));
    match known_code(code) {
        Some(code) => Problem::new(code, text),
        None => Problem::new(ErrorCode::SandboxFailed, error.message.clone()),
    }
}

fn known_code(text: &str) -> Option<ErrorCode> {
    ErrorCode::all().find(|code| code.as_str() == text)
}

pub(super) fn event(event: proto::Event) -> Option<Event> {
    Some(match event.event? {
        event::Event::Started(_) => Event::Started,
        event::Event::Output(output) => {
            let stream = match output.stream.as_known() {
                Some(proto::Stream::STREAM_STDERR) => Stream::Stderr,
                Some(proto::Stream::STREAM_STDOUT | proto::Stream::STREAM_UNSPECIFIED) | None => {
                    Stream::Stdout
                }
            };
            Event::Output { offset: output.offset, stream, bytes: output.data }
        }
        event::Event::Gap(gap) => Event::Gap { from: gap.from, to: gap.to },
        event::Event::End(end) => Event::Ended(Box::new(ended(*end))),
    })
}

fn ended(end: proto::End) -> Ended {
    let not_runnable =
        end.not_runnable.as_option().map(|why| NotRunnable { errno: why.errno, stage: why.stage.clone() });
    let limit = end.limit.as_known().and_then(limit_kind);
    let facts = EndFacts {
        stored: None,
        cancelled: end.cancelled,
        timed_out: limit == Some(LimitKind::Timeout),
        out_of_memory: limit == Some(LimitKind::Memory),
        output_killed: limit == Some(LimitKind::Output),
        killed_for: limit,
        exit: exit(&end, not_runnable.as_ref()),
    };
    let metrics = end.metrics.as_option().map(metrics).unwrap_or_default();
    Ended {
        facts,
        returned: end.return_value,
        returned_too_much: end.return_value_too_large,
        not_runnable,
        metrics,
        artifacts: end.artifacts.into_iter().map(artifact).collect(),
        artifacts_truncated: end.artifacts_truncated,
        stdout_bytes: end.stdout_bytes,
        stderr_bytes: end.stderr_bytes,
        started_at_ms: end.started_at_unix_ms,
        finished_at_ms: end.finished_at_unix_ms,
    }
}

fn exit(end: &proto::End, not_runnable: Option<&NotRunnable>) -> Option<Exit> {
    if end.lost {
        return None;
    }
    if let Some(why) = not_runnable {
        return Some(why.exit());
    }
    let small = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
    end.exit_code
        .map(|code| Exit::Code(small(code)))
        .or_else(|| end.signal.map(|signal| Exit::Signal(small(signal))))
}

fn metrics(metrics: &proto::Metrics) -> Metrics {
    let source = match metrics.source.as_known() {
        Some(proto::MetricsSource::METRICS_SOURCE_CGROUP) => MetricsSource::Cgroup,
        Some(proto::MetricsSource::METRICS_SOURCE_SAMPLED) => MetricsSource::Sampled,
        Some(proto::MetricsSource::METRICS_SOURCE_UNSPECIFIED) | None => MetricsSource::None,
    };
    let known = |value: u64| (source != MetricsSource::None).then_some(value);
    Metrics {
        wall_ms: metrics.wall_us.div_ceil(1_000),
        cpu_user_ms: known(metrics.cpu_user_us / 1_000),
        cpu_system_ms: known(metrics.cpu_system_us / 1_000),
        // An execution can be too short to be seen by a sampler.
        peak_memory_bytes: known(metrics.peak_memory_bytes).filter(|peak| *peak > 0),
        read_bytes: known(metrics.read_bytes),
        write_bytes: known(metrics.write_bytes),
        source,
    }
}

fn artifact(artifact: proto::Artifact) -> Artifact {
    let hex = artifact.sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let below = artifact.path.strip_prefix(WORKSPACE).and_then(|path| path.strip_prefix('/'));
    let path = below.unwrap_or(&artifact.path).to_owned();
    Artifact {
        media_type: media_type(&path).to_owned(),
        path,
        size_bytes: artifact.size_bytes,
        sha256: (!hex.is_empty()).then_some(hex),
    }
}

/// By the ending of the name: enough for a browser to show what people make most.
fn media_type(path: &str) -> &'static str {
    let ending =
        path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "tar" => "application/x-tar",
        "py" => "text/x-python",
        "js" | "mjs" => "text/javascript",
        "sh" => "text/x-shellscript",
        _ => "application/octet-stream",
    }
}

fn limit_kind(kind: proto::LimitKind) -> Option<LimitKind> {
    match kind {
        proto::LimitKind::LIMIT_KIND_UNSPECIFIED => None,
        proto::LimitKind::LIMIT_KIND_TIMEOUT => Some(LimitKind::Timeout),
        proto::LimitKind::LIMIT_KIND_MEMORY => Some(LimitKind::Memory),
        proto::LimitKind::LIMIT_KIND_CPU => Some(LimitKind::Cpu),
        proto::LimitKind::LIMIT_KIND_PROCESSES => Some(LimitKind::Processes),
        proto::LimitKind::LIMIT_KIND_DISK => Some(LimitKind::Disk),
        proto::LimitKind::LIMIT_KIND_INODES => Some(LimitKind::Inodes),
        proto::LimitKind::LIMIT_KIND_OUTPUT => Some(LimitKind::Output),
    }
}
