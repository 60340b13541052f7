//! The little of Python's C interface that the module is made of.

#![expect(unsafe_code, reason = "Python's interface is C")]

use std::ffi::{c_char, c_int, c_long, c_void};

use crate::serve;

/// Any object, of which we know no more.
#[repr(C)]
pub(crate) struct Object {
    opaque: [u8; 0],
}

/// `PyMethodDef`.
#[repr(C)]
struct Method {
    name: *const c_char,
    function: Option<extern "C" fn(*mut Object, *mut Object) -> *mut Object>,
    flags: c_int,
    doc: *const c_char,
}

/// `PyModuleDef_Slot`.
#[repr(C)]
struct Slot {
    slot: c_int,
    value: *mut c_void,
}

/// `PyModuleDef`, with its head.
#[repr(C)]
struct Definition {
    references: isize,
    kind: *mut c_void,
    init: *mut c_void,
    index: isize,
    copy: *mut c_void,
    name: *const c_char,
    doc: *const c_char,
    size: isize,
    methods: *mut Method,
    slots: *mut Slot,
    traverse: *mut c_void,
    clear: *mut c_void,
    free: *mut c_void,
}

/// `Py_mod_exec`.
const EXEC: c_int = 2;
/// `METH_O`.
const ONE_ARGUMENT: c_int = 8;

unsafe extern "C" {
    fn PyModuleDef_Init(definition: *mut Definition) -> *mut Object;
    fn PyBytes_FromStringAndSize(text: *const c_char, length: isize) -> *mut Object;
    fn PyLong_AsLong(object: *mut Object) -> c_long;
    fn PyObject_SetAttrString(object: *mut Object, name: *const c_char, value: *mut Object) -> c_int;
    fn PyObject_Malloc(size: usize) -> *mut c_void;
    fn PyObject_Free(block: *mut c_void);
    fn PyOS_BeforeFork();
    fn PyOS_AfterFork_Child();
}

/// From Python's allocator of small objects; null without memory.
pub(crate) fn allocate(size: usize) -> *mut c_void {
    // SAFETY: the interpreter's lock is held wherever this module runs.
    unsafe { PyObject_Malloc(size) }
}

/// Gives back what [`allocate`] gave.
pub(crate) fn free(block: *mut c_void) {
    // SAFETY: as above; a null is nothing to it.
    unsafe { PyObject_Free(block) }
}

/// What an import of the module begins with.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn PyInit_sandkeep_warm() -> *mut Object {
    let none = std::ptr::null_mut;
    let methods = vec![
        Method { name: c"leave".as_ptr(), function: Some(leave), flags: ONE_ARGUMENT, doc: std::ptr::null() },
        Method { name: std::ptr::null(), function: None, flags: 0, doc: std::ptr::null() },
    ];
    let slots = vec![Slot { slot: EXEC, value: execute as *mut c_void }, Slot { slot: 0, value: none() }];
    // Python keeps pointers to all of it for as long as it lives, so it is never freed.
    let definition = Box::leak(Box::new(Definition {
        references: 1,
        kind: none(),
        init: none(),
        index: 0,
        copy: none(),
        name: c"sandkeep_warm".as_ptr(),
        doc: std::ptr::null(),
        size: 0,
        methods: methods.leak().as_mut_ptr(),
        slots: slots.leak().as_mut_ptr(),
        traverse: none(),
        clear: none(),
        free: none(),
    }));
    // SAFETY: a complete definition that lives for ever.
    unsafe { PyModuleDef_Init(definition) }
}

/// Serves; comes back in a fork, whose module then has `argv` and `env`, each text ended by a zero byte.
extern "C" fn execute(module: *mut Object) -> c_int {
    // SAFETY: the interpreter holds its lock while it imports, and `serve` makes sure that this is its only thread. What a fork
    // has to find in order is put in order once, since nothing of Python runs here between two forks.
    unsafe { PyOS_BeforeFork() };
    let job = serve::until_forked();
    // SAFETY: this is the child of a fork that the call above prepared.
    unsafe { PyOS_AfterFork_Child() };
    for (name, texts) in [(c"argv", &job.argv), (c"env", &job.env)] {
        let bytes: Vec<u8> = texts.iter().flat_map(|text| text.iter().copied().chain([0])).collect();
        let length = isize::try_from(bytes.len()).expect("an allocation's size");
        // SAFETY: Python copies the bytes; a null for want of memory is refused by the call that gets it.
        let failed = unsafe {
            let value = PyBytes_FromStringAndSize(bytes.as_ptr().cast(), length);
            value.is_null() || PyObject_SetAttrString(module, name.as_ptr(), value) != 0
        };
        if failed {
            return -1;
        }
    }
    0
}

/// Ends the process as exit(3) does, with what C has buffered written and its handlers run: `leave(status)`.
extern "C" fn leave(_module: *mut Object, status: *mut Object) -> *mut Object {
    // SAFETY: exit does not return; the interpreter's lock is held, so no other thread of Python's is under way.
    unsafe {
        let status = c_int::try_from(PyLong_AsLong(status)).unwrap_or(-1);
        libc::exit(status)
    }
}
