//! Blocks of memory that are shared with every process made later, and stay where they are: each a stack, and above it a
//! few integers for what its user has to tell.
//!
//! A block is shared, not private, so that copying the agent does not copy the page tables of all of them.

use nix::errno::Errno;
use std::ptr::NonNull;
use std::sync::atomic::AtomicI32;

/// Of one block. What is never touched takes no memory.
const SIZE: usize = 64 << 10;
/// So many blocks are mapped at a time.
const SLAB: usize = 64;
/// So many free blocks keep the memory they have taken.
const WARM: usize = 64;
const CELLS: usize = 32;

/// The integers of a block, zero at first.
pub type Cells = [AtomicI32; CELLS];

/// A block in use.
pub struct Block(NonNull<u8>);

/// The stack of a block, which grows down.
#[derive(Clone, Copy)]
pub struct Stack {
    bottom: *mut u8,
    size: usize,
}

/// A stack in memory that is shared with nobody: a copy of this process has a copy of it.
pub struct PrivateStack {
    _memory: Vec<u8>,
    stack: Stack,
}

// SAFETY: nobody looks at it here; it is for a process that has its own.
unsafe impl Sync for PrivateStack {}

impl PrivateStack {
    pub fn new() -> Self {
        let mut memory = vec![0; SIZE];
        let (bottom, size) = (memory.as_mut_ptr(), memory.len());
        PrivateStack {
            _memory: memory,
            stack: Stack { bottom, size },
        }
    }

    pub fn stack(&self) -> Stack {
        self.stack
    }
}

impl Stack {
    pub fn bottom(self) -> *mut u8 {
        self.bottom
    }

    pub fn top(self) -> *mut u8 {
        self.bottom.wrapping_add(self.size)
    }
}

impl Block {
    const STACK: usize = SIZE - std::mem::size_of::<Cells>();

    pub fn stack(&self) -> Stack {
        Stack {
            bottom: self.0.as_ptr(),
            size: Self::STACK,
        }
    }

    pub fn cells(&self) -> &'static Cells {
        // SAFETY: blocks are never unmapped, the place is aligned, and atomics are what several processes
        // may write at once.
        unsafe { &*self.0.as_ptr().add(Self::STACK).cast() }
    }
}

/// All blocks there are.
#[derive(Default)]
pub struct Blocks {
    free: Vec<Block>,
}

impl Blocks {
    /// A block with all its integers zero. `mmap(2)`: `ENOMEM`.
    pub fn take(&mut self) -> Result<Block, Errno> {
        if self.free.is_empty() {
            self.map()?;
        }
        let block = self.free.pop().ok_or(Errno::ENOMEM)?;
        for cell in block.cells() {
            cell.store(0, std::sync::atomic::Ordering::SeqCst);
        }
        Ok(block)
    }

    /// Gives back a block that no process uses any more.
    pub fn give_back(&mut self, block: Block) {
        if self.free.len() >= WARM {
            // SAFETY: it is in no use, and reads as zeroes from now on.
            unsafe { libc::madvise(block.0.as_ptr().cast(), SIZE, libc::MADV_REMOVE) };
        }
        self.free.push(block);
    }

    fn map(&mut self) -> Result<(), Errno> {
        // SAFETY: a fresh anonymous mapping aliases nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SIZE * SLAB,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let first = NonNull::new(address.cast::<u8>()).ok_or(Errno::ENOMEM)?;
        // SAFETY: within the mapping. The first shall be the first to be used.
        let blocks = (0..SLAB)
            .rev()
            .map(|n| Block(unsafe { first.add(n * SIZE) }));
        self.free.extend(blocks);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn blocks_do_not_overlap_and_come_back_clean() {
        let mut blocks = Blocks::default();
        let mut taken: Vec<_> = (0..2 * SLAB).map(|_| blocks.take().unwrap()).collect();
        for (number, block) in (1..).zip(&taken) {
            block
                .cells()
                .iter()
                .for_each(|cell| cell.store(number, Ordering::SeqCst));
            let stack = block.stack();
            assert_eq!(stack.top().cast_const(), block.cells().as_ptr().cast());
            // SAFETY: nobody uses this stack.
            unsafe { stack.bottom().write_bytes(0xff, Block::STACK) };
        }
        for (number, block) in (1..).zip(&taken) {
            assert!(block
                .cells()
                .iter()
                .all(|cell| cell.load(Ordering::SeqCst) == number));
        }
        taken.drain(..).for_each(|block| blocks.give_back(block));
        for _ in 0..2 * SLAB {
            let block = blocks.take().unwrap();
            assert!(block
                .cells()
                .iter()
                .all(|cell| cell.load(Ordering::SeqCst) == 0));
        }
    }
}
