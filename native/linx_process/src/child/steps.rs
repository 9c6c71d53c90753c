//! The commands of the checkpoint, carried out by the parked child.

use crate::confine::{capabilities, no_new_privs, seccomp};
use crate::wire::{Failure, Stage, Step};

/// Does `step` to the calling process. A filter is rehearsed and kept in `filters`.
pub fn perform(step: Step, filters: &mut Vec<Vec<u8>>) -> Result<(), Failure> {
    match step {
        Step::CapDropBounding(mask) => {
            capabilities::drop_bounding(mask).map_err(Stage::CapDropBounding.failed())
        }
        Step::CapSetThread {
            effective,
            permitted,
            inheritable,
        } => capabilities::set_thread(effective, permitted, inheritable)
            .map_err(Stage::CapSetThread.failed()),
        Step::CapSetAmbient(mask) => {
            capabilities::set_ambient(mask).map_err(Stage::CapSetAmbient.failed())
        }
        Step::SeccompInstall(program) => {
            // Without it the kernel takes filters from CAP_SYS_ADMIN only.
            no_new_privs::set().map_err(Stage::SeccompNoNewPrivs.failed())?;
            seccomp::rehearse(&program).map_err(Stage::SeccompInstall.failed())?;
            filters.push(program);
            Ok(())
        }
    }
}
