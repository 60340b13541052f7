//! What every driver must do, as cases over `&dyn Driver`. A driver is added by one line at the end of this file.
//!
//! These are the promises of the seam (`driver.rs`), each shown once and quickly. How large, how many and how often is
//! the suite `correctness` of the command.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]
#![allow(unreachable_pub, dead_code, reason = "the support is shared with other suites")]

mod ending;
mod files;
mod identity;
mod layers;
mod shortage;
mod speaking;
#[path = "../support/mod.rs"]
mod support;

use sandkeep_core::size::ByteSize;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};

/// The driver `local`, with its state where it always is: slots are of the host, not of a test.
fn local() -> Local {
    let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
    Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(8) })
}

/// One test per case, in a module named after the driver.
macro_rules! conforms {
    ($name:ident, $driver:expr, $($part:ident :: $case:ident),+ $(,)?) => {
        mod $name {
            $(#[test]
            fn $case() {
                let driver = $driver;
                crate::support::block_on(crate::$part::$case(&driver));
            })+
        }
    };
}

/// Every case, for one driver.
macro_rules! every_case {
    ($name:ident, $driver:expr) => {
        conforms!(
            $name,
            $driver,
            ending::an_exit_code_arrives,
            ending::a_signal_arrives,
            ending::a_missing_program_is_not_found,
            ending::a_file_that_is_no_program_is_not_runnable,
            ending::a_timeout_ends_the_whole_tree,
            ending::a_polite_cancel_lets_the_code_finish,
            ending::a_cancel_now_does_not_ask,
            ending::a_cancel_after_the_end_is_refused,
            ending::what_detached_dies_with_its_execution,
            ending::stopping_ends_what_runs,
            ending::dropping_the_handle_ends_the_sandbox,
            ending::a_create_that_is_given_up_leaves_nothing,
            speaking::streams_are_told_apart,
            speaking::one_pipe_keeps_the_order,
            speaking::given_bytes_are_standard_input,
            speaking::fed_bytes_are_standard_input,
            speaking::without_input_there_is_none,
            speaking::output_over_the_cap_leaves_one_gap,
            speaking::too_much_output_can_end_it,
            speaking::the_environment_starts_from_zero,
            speaking::the_working_directory_is_as_asked,
            speaking::a_working_directory_never_leads_out,
            speaking::a_handler_hands_its_result_back,
            identity::the_same_id_runs_once,
            identity::two_listeners_hear_the_same,
            identity::a_lower_token_is_refused,
            identity::a_new_token_fences_the_old_one_off,
            identity::a_sandbox_says_who_it_is,
            identity::sandboxes_do_not_share_files,
            files::given_files_are_there,
            files::a_file_can_be_read_back,
            files::what_is_no_plain_file_is_not_read,
            files::new_and_changed_files_are_listed,
            files::nothing_is_listed_unless_asked,
            layers::what_is_kept_is_there_again,
            layers::dev_keeps_what_its_root_changed,
            layers::a_layer_is_one_sandboxs,
            layers::its_disk_is_bounded,
            layers::its_files_are_bounded,
            layers::killed_with_all_its_processes_it_starts_again,
            layers::it_is_removed_whole,
            layers::what_is_no_layer_is_refused_and_left_alone,
            layers::nobody_else_can_enter_it,
            layers::a_link_in_a_kept_layer_leads_nowhere,
            layers::a_layer_goes_with_as_many_mounts_as_may_be,
            shortage::without_descriptors_a_start_is_refused,
            shortage::at_the_limit_of_processes_a_start_is_refused_or_runs,
            shortage::nothing_stays_of_many_executions,
        );
    };
}

every_case!(local, crate::local());
