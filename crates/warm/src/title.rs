//! What `ps` shows of a fork: its own arguments and environment, and not the warm interpreter's.

#![expect(unsafe_code, reason = "prctl(2) takes a structure of addresses")]

/// `struct prctl_mm_map` of linux/prctl.h.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Title {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

impl Title {
    /// Where everything of this process is now, by `proc_pid_stat(5)`. `None` where that cannot be read.
    pub(crate) fn find() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        // The first of the rest is field 3 of the manual page.
        let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let field = |number: usize| fields.get(number - 3).copied().filter(|address| *address != 0);
        Some(Self {
            start_code: field(26)?,
            end_code: field(27)?,
            start_stack: field(28)?,
            start_data: field(45)?,
            end_data: field(46)?,
            start_brk: field(47)?,
            arg_start: field(48)?,
            arg_end: field(49)?,
            env_start: field(50)?,
            env_end: field(51)?,
            brk: 0,
            auxv: 0,
            auxv_size: 0,
            exe_fd: u32::MAX,
        })
    }

    /// Shows these from now on. Where the kernel does not do that for everybody (it was built without
    /// `CONFIG_CHECKPOINT_RESTORE`), nothing changes.
    pub(crate) fn set(&self, argv: &[Vec<u8>], env: &[Vec<u8>]) {
        let size = |texts: &[Vec<u8>]| texts.iter().map(|text| text.len() as u64 + 1).sum::<u64>();
        let texts: Vec<u8> =
            argv.iter().chain(env).flat_map(|text| text.iter().copied().chain([0])).collect();
        // The kernel reads them for as long as the process lives.
        let start = texts.leak().as_ptr() as u64;
        let (arg_end, env_end) = (start + size(argv), start + size(argv) + size(env));
        // SAFETY: sbrk(0) only tells. All other addresses are as they are, or those of the leaked bytes.
        unsafe {
            let brk = libc::sbrk(0) as u64;
            let map = Self { arg_start: start, arg_end, env_start: arg_end, env_end, brk, ..*self };
            libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size_of::<Self>(), 0);
        }
    }
}
