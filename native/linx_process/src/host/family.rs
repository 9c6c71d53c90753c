//! The processes of a session: the intermediate that may have been needed, the subreaper, the main process.
//! What becomes of them is told as inputs of the session.

use super::poller::{Part, Token};
use super::world::World;
use crate::child::order::{Order, Word};
use crate::child::page::{Page, Report};
use crate::launch::{maps, Launched, Launching, LASTING};
use crate::reap::tree;
use crate::session::{exit_code, Input};
use crate::subreaper::Job;
use crate::sys::clone::{Child, Lent};
use crate::sys::process::with_every_descriptor;
use crate::sys::wait::{self, Death};
use crate::sys::{fds, pidfd, signals};
use crate::wire::{Failure, Id, Maps, Reach, Reply, Stage, Step};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{recv, send, MsgFlags};
use nix::unistd::{getpgid, getpgrp, getpid, Pid};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

pub struct Family {
    id: Id,
    intermediate: Option<Child>,
    subreaper: Option<Child>,
    /// Pinned as long as it can be signalled.
    main: Option<Child>,
    channel: Option<OwnedFd>,
    /// The new processes' ends of what they share with the agent, until they have them.
    passed: Vec<OwnedFd>,
    job: Option<Lent<Job>>,
    page: Option<Page>,
    report: Report,
    /// Whether the main process's parent knows it by another pid than we do.
    elsewhere: bool,
    /// The main process's pid in its own PID namespace, once it is at the checkpoint.
    child_pid: libc::pid_t,
    maps: Option<Maps>,
    /// Whether the subreaper is an init that is to stay with its workload when we go.
    stays: bool,
    /// What is answered when the child has done its step.
    answer: Reply,
    born: bool,
    execed: bool,
    gone: bool,
}

/// How the subreaper has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// By itself: nothing is left.
    Done,
    /// Without having made a main process, and with this exit code for an agent that has no other.
    Unborn(Failure, i32),
    /// Somebody has killed it, and what was below it is not any more.
    Killed,
}

impl Family {
    /// Watches what has been launched. What cannot be watched is killed.
    pub fn new(id: Id, launched: Launched, world: &mut World) -> Result<Self, Failure> {
        let mut family = Family {
            id,
            intermediate: None,
            subreaper: None,
            main: None,
            channel: launched.channel,
            passed: launched.passed,
            stays: launched.job.is_init && launched.job.dies_with.is_none(),
            job: Some(launched.job),
            report: launched.page.report(),
            page: Some(launched.page),
            elsewhere: launched.elsewhere,
            child_pid: 0,
            maps: launched.maps,
            answer: Reply::Ok,
            born: false,
            execed: false,
            gone: false,
        };
        let watched = match launched.stage {
            Launching::Subreaper(child) => family.adopt(child, world),
            Launching::Intermediate(child) => family
                .watched(Part::Intermediate, child, world)
                .map(|child| family.expect(child, world)),
        };
        match watched {
            Ok(()) => Ok(family),
            Err(failure) => {
                family.close(world);
                Err(failure)
            }
        }
    }

    /// From here on the subreaper may be there, and is no stray.
    fn expect(&mut self, child: Child, world: &mut World) {
        let cell = self.report.subreaper_cell();
        world.children.expected.insert(child.pid, cell);
        self.intermediate = Some(child);
    }

    /// From here on the subreaper is waited for, and the main process listened to.
    fn adopt(&mut self, child: Child, world: &mut World) -> Result<(), Failure> {
        let child = self.watched(Part::Subreaper, child, world)?;
        self.subreaper = Some(child);
        if let Some(channel) = &self.channel {
            self.watch(Part::Channel, channel, world)
                .map_err(Stage::Epoll.failed())?;
        }
        Ok(())
    }

    /// A child that epoll does not take (`ENOSPC`, `ENOMEM`) cannot be waited for: there will be no session.
    fn watched(&self, part: Part, child: Child, world: &mut World) -> Result<Child, Failure> {
        let child = Child {
            pid: child.pid,
            pidfd: fds::raise(child.pidfd, LASTING),
        };
        match self.watch(part, &child.pidfd, world) {
            Ok(()) => {
                world.children.pids.insert(child.pid);
                Ok(child)
            }
            Err(errno) => {
                let _ = pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
                wait::await_end(child.pidfd.as_fd());
                Err(Stage::Epoll.failed()(errno))
            }
        }
    }

    /// Whether there is a subreaper below which the session's processes are.
    pub fn root(&self) -> Option<libc::pid_t> {
        self.subreaper.as_ref().map(|child| child.pid)
    }

    pub fn is_expected(&self) -> bool {
        self.intermediate.is_some()
    }

    /// The intermediate may have ended. Returns whether there will be no subreaper.
    pub fn intermediate_ended(&mut self, world: &mut World) -> Option<End> {
        let child = self.intermediate.take_if(|child| is_reaped(child))?;
        self.forget(Part::Intermediate, &child.pidfd, world);
        world.children.pids.remove(&child.pid);
        let adopted = self.report.subreaper().map(|pid| {
            pidfd::open(pid)
                .map_err(Stage::Fork.failed())
                .and_then(|pidfd| self.adopt(Child { pid, pidfd }, world))
                .map_err(|failure| End::Unborn(failure, exit_code::INFRASTRUCTURE))
        });
        world.children.expected.remove(&child.pid);
        adopted.map_or_else(|| Some(self.unborn()), Result::err)
    }

    fn unborn(&self) -> End {
        // Whoever was to make the main process may have said why it did not.
        match self.report.failure() {
            Some(failure) => End::Unborn(failure, exit_code::CLONE),
            None => End::Killed,
        }
    }

    /// Looks at what the subreaper and the main process have reported.
    pub fn look(&mut self, inputs: &mut Vec<Input>, world: &mut World) {
        self.hear(inputs, world);
        if self.channel.is_none() || self.report.death().is_some() {
            self.see_birth(inputs);
        }
        if self.report.has_execed() && !self.execed {
            self.execed = true;
            inputs.push(Input::Execed);
            self.released(world);
        }
        // Whether it has left others is told next, or by the subreaper's own end.
        let settled = self.report.are_others_left() || self.subreaper.is_none();
        if let (Some(death), true, false) = (self.report.death(), settled, self.gone) {
            self.gone(death, inputs, world);
        }
    }

    /// Of a main process that has not told by the channel that it is there.
    fn see_birth(&mut self, inputs: &mut Vec<Input>) {
        if let (Some(pid), false) = (self.report.main(), self.born || self.elsewhere) {
            self.born = true;
            inputs.push(Input::Spawned(pid));
        }
        if let (Some(pid), 0) = (self.report.passed(), self.child_pid) {
            self.child_pid = pid;
            inputs.push(Input::ChildReady(pid));
        }
    }

    /// Reads what the parked child says.
    fn hear(&mut self, inputs: &mut Vec<Input>, world: &mut World) {
        while let Some(channel) = &self.channel {
            let mut buffer = [0; 16];
            match recv(channel.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                Ok(length) if length > 0 => match Word::decode(&buffer[..length]) {
                    Some(Word::Ready(pid)) => self.parked(pid, inputs),
                    Some(Word::Done) => inputs.push(Input::StepDone(self.answer.clone())),
                    Some(Word::Unmapped) => self.map(inputs),
                    None => {}
                },
                // It has executed its program, or ended: the subreaper knows.
                Ok(_) | Err(_) => self.close_channel(world),
            }
        }
    }

    /// Has the maps written of the user namespace that the main process is in, and so is its init, if it has one. If
    /// the kernel refuses, the main process is not to go on.
    fn map(&mut self, inputs: &mut Vec<Input>) {
        let Some(maps) = &self.maps else { return };
        let pid = if self.elsewhere {
            self.root()
        } else {
            self.report.main()
        };
        // Without one it has died.
        let Some(pid) = pid else { return };
        if maps.by_beam {
            return inputs.push(Input::Unmapped(pid));
        }
        match maps::write(maps, pid, || self.report.death().is_some()) {
            Ok(()) => self.tell(&Order::Mapped),
            Err(failure) => {
                self.report.fail(failure);
                self.kill_main();
            }
        }
    }

    fn parked(&mut self, child_pid: libc::pid_t, inputs: &mut Vec<Input>) {
        // They have what they need of these by now.
        self.passed.clear();
        let pid = if self.elsewhere {
            // It is the only child that its parent has by now. If there is none, it has died.
            self.root().and_then(tree::only_child)
        } else {
            self.report.main()
        };
        let Some(pid) = pid else { return };
        self.child_pid = child_pid;
        self.born = true;
        self.main = self.pin(pid);
        inputs.extend([Input::Spawned(pid), Input::ChildReady(child_pid)]);
    }

    /// Opens a pidfd that is certainly the main process's: it has not been reaped.
    fn pin(&self, pid: libc::pid_t) -> Option<Child> {
        let pidfd = pidfd::open(pid).map(|pidfd| fds::raise(pidfd, LASTING));
        let pidfd = pidfd.ok().filter(|_| self.report.death().is_none())?;
        Some(Child { pid, pidfd })
    }

    fn pin_main(&mut self) {
        if self.main.is_none() && !self.elsewhere {
            self.main = self.report.main().and_then(|pid| self.pin(pid));
        }
    }

    pub fn is_running(&self) -> bool {
        self.execed && !self.gone
    }

    /// Watches the end of the main process, too: if somebody traces it, the subreaper does not hear of it.
    pub fn watch_main(&mut self, world: &mut World) {
        self.pin_main();
        if let Some(main) = &self.main {
            let _ = self.watch(Part::Main, &main.pidfd, world);
        }
    }

    /// The main process is dead. Returns whether that is all that is known: somebody else has to take notice
    /// before its parent can (ptrace(2)).
    pub fn main_ended(&mut self, inputs: &mut Vec<Input>, world: &mut World) -> bool {
        if let Some(main) = &self.main {
            self.forget(Part::Main, &main.pidfd, world);
        }
        self.look(inputs, world);
        !self.gone
    }

    /// Whether somebody else is to take notice of its end before its parent.
    pub fn is_traced(&self) -> bool {
        let main = self.main.as_ref();
        main.is_some_and(|main| with_every_descriptor(|| tree::is_traced(main.pid)))
    }

    fn gone(&mut self, death: Death, inputs: &mut Vec<Input>, world: &mut World) {
        self.gone = true;
        self.released(world);
        if let Some(main) = self.main.take() {
            self.forget(Part::Main, &main.pidfd, world);
        }
        inputs.push(Input::Used(self.report.usage()));
        inputs.push(Input::Gone(death, self.report.failure()));
    }

    /// Nobody looks at the job any more.
    fn released(&mut self, world: &mut World) {
        self.close_channel(world);
        self.passed.clear();
        drop(self.job.take().map(Lent::take_back));
    }

    /// The subreaper may have ended. If it has, everything that it has told comes before.
    pub fn subreaper_ended(&mut self, inputs: &mut Vec<Input>, world: &mut World) -> Option<End> {
        let child = self.subreaper.take_if(|child| is_reaped(child))?;
        self.look(inputs, world);
        self.forget(Part::Subreaper, &child.pidfd, world);
        world.children.pids.remove(&child.pid);
        let end = match (self.gone, self.report.main()) {
            (true, _) => End::Done,
            (false, None) => self.unborn(),
            (false, Some(_)) => End::Killed,
        };
        if self.gone || self.report.main().is_none() {
            self.released(world);
            // The last look at it: it may be another session's next, or empty.
            if let Some(page) = self.page.take() {
                world.means.blocks.give_back(page.into_block());
            }
        }
        Some(end)
    }

    /// The main process of a subreaper that has been killed dies, and with it what is below it. Others that the
    /// session has started are the agent's strays by now.
    pub fn end_orphaned(&mut self, inputs: &mut Vec<Input>, world: &mut World) {
        let inherited = |pid: &libc::pid_t| tree::parent(*pid) == Some(getpid().as_raw());
        let main = self.main.take().or_else(|| {
            let pid = self.report.main().filter(inherited)?;
            let pidfd = pidfd::open(pid).ok()?;
            Some(Child { pid, pidfd })
        });
        if let Some(main) = main {
            self.forget(Part::Main, &main.pidfd, world);
            tree::end(main.pid, main.pidfd.as_fd());
        }
        self.close_channel(world);
        self.passed.clear();
        if self.born {
            self.gone = true;
            inputs.push(Input::Gone(Death::Signaled(libc::SIGKILL), None));
        }
        // The job and the page stay lent: a process that has not executed anything may look at them.
    }

    // What is said to it.

    /// A child that is not there any more will not miss it; its death is on the way here.
    pub fn tell(&self, order: &Order) {
        if let Some(channel) = &self.channel {
            let _ = send(channel.as_raw_fd(), &order.encode(), MsgFlags::MSG_NOSIGNAL);
        }
    }

    /// Whose `answer` is told when it is done.
    pub fn tell_step(&mut self, step: Step, answer: Reply) {
        self.answer = answer;
        self.tell(&Order::Step(step));
    }

    /// `ESRCH` when the main process has ended.
    pub fn signal(&mut self, signal: libc::c_int, reach: Reach) -> Result<(), Errno> {
        self.with_main(|family| family.send(signal, reach))
    }

    /// Runs `body` with the main process pinned, and every descriptor there is. If only these allow it, it does
    /// not stay pinned.
    fn with_main<T>(&mut self, body: impl FnOnce(&Self) -> T) -> T {
        self.pin_main();
        let stays = self.main.is_some();
        with_every_descriptor(|| {
            self.pin_main();
            let result = body(self);
            self.main.take_if(|_| !stays);
            result
        })
    }

    fn send(&self, signal: libc::c_int, reach: Reach) -> Result<(), Errno> {
        let reach = match reach {
            // The program that runs is a child of the main process, which keeps to the others what it gets, too.
            Reach::Process if self.report.is_chained() => Reach::Group,
            reach => reach,
        };
        match (reach, &self.main) {
            (_, None) => Err(Errno::ESRCH),
            (Reach::Process, Some(main)) => pidfd::send_signal(main.pidfd.as_fd(), signal),
            (Reach::Group, Some(main)) => {
                let group = getpgid(Some(Pid::from_raw(main.pid)))?;
                // Then that was its own pid: it has not been reaped.
                if self.report.death().is_some() {
                    return Err(Errno::ESRCH);
                }
                // It may have joined the agent's, which is nobody's to signal.
                if group == getpgrp() {
                    return Err(Errno::EPERM);
                }
                signals::kill_group(group.as_raw(), signal)
            }
            (Reach::Tree, Some(_)) => {
                self.signal_tree(signal);
                Ok(())
            }
        }
    }

    fn signal_tree(&self, signal: libc::c_int) {
        if let Some(root) = self.root() {
            tree::signal_all(root, signal);
        }
    }

    /// SIGKILL to the main process, or to what would make it.
    pub fn kill_main(&self) {
        // One that asks for maps is an init wherever the main process has another number.
        let asking = self.subreaper.as_ref();
        let init = asking.filter(|_| self.elsewhere && self.maps.is_some());
        let main = self.main.as_ref().or(self.intermediate.as_ref());
        match main.or(init) {
            Some(main) => drop(pidfd::send_signal(main.pidfd.as_fd(), libc::SIGKILL)),
            // There was no descriptor for it.
            None => with_every_descriptor(|| self.signal_tree(libc::SIGKILL)),
        }
    }

    /// `signal` to everybody. Returns whether the main process can get it.
    pub fn terminate(&mut self, signal: libc::c_int) -> bool {
        self.with_main(|family| {
            if let (1, Some(main)) = (family.child_pid, &family.main) {
                if !tree::gets(main.pid, signal) {
                    return false;
                }
            }
            // A stopped process gets no signal but this one and SIGKILL.
            for signal in [signal, libc::SIGCONT] {
                family.signal_tree(signal);
            }
            true
        })
    }

    // The descriptors.

    fn watch(&self, part: Part, fd: &OwnedFd, world: &mut World) -> Result<(), Errno> {
        let token = Token::Session(self.id, part);
        world.poller.want(token, fd.as_fd(), EpollFlags::EPOLLIN)
    }

    fn forget(&self, part: Part, fd: &OwnedFd, world: &mut World) {
        world
            .poller
            .forget(Token::Session(self.id, part), fd.as_fd());
    }

    fn close_channel(&mut self, world: &mut World) {
        if let Some(channel) = self.channel.take() {
            self.forget(Part::Channel, &channel, world);
        }
    }

    /// The session is over. A subreaper that is still there is left to itself.
    pub fn close(mut self, world: &mut World) {
        self.close_channel(world);
        if let Some(main) = self.main.take() {
            self.forget(Part::Main, &main.pidfd, world);
        }
        if let Some(intermediate) = self.intermediate.take() {
            self.forget(Part::Intermediate, &intermediate.pidfd, world);
            world.children.expected.remove(&intermediate.pid);
            world.leave(intermediate, None);
        }
        if let Some(subreaper) = self.subreaper.take() {
            self.forget(Part::Subreaper, &subreaper.pidfd, world);
            // With it goes what holds the leftovers, where they may stay, and an init's workload. One that has made no main process shall
            // not do so later.
            let stays = self.stays && !self.gone;
            if self.elsewhere && !stays || self.report.main().is_none() {
                let _ = pidfd::send_signal(subreaper.pidfd.as_fd(), libc::SIGKILL);
            }
            world.leave(subreaper, self.page.take().filter(|_| self.gone));
        }
    }
}

/// Reaps the child if it has ended, and tells whether that has been done.
fn is_reaped(child: &Child) -> bool {
    matches!(wait::reap(child.pidfd.as_fd()), Ok(Some(_)) | Err(_))
}
