//! What the process keeps in memory, as far as it can be told: its own program text.
//!
//! Starting runs through most of the program once (configuration, schemas, routers, descriptions of
//! metrics), and the kernel maps sixteen pages around each one that is touched, so that afterwards
//! most of the text counts as resident, although what runs from then on is a fraction of it. Given
//! back, it stays in the kernel's cache of the file, and whatever is needed again is mapped again
//! without being read.
//!
//! The only crate with `unsafe` in it.

use std::fs;
use std::io;
use std::ops::Range;

use rustix::mm::{Advice, madvise};

/// Unmaps the pages of the program's own text. Those that run next come back by themselves, some
/// microseconds each. Returns how many bytes of text there are.
///
/// # Errors
/// When the process cannot read its own mappings (`/proc` is not mounted, for example), or the
/// kernel refuses the advice. Nothing has changed then but what is resident.
pub fn give_back_text() -> io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let program = program.to_str().ok_or(io::ErrorKind::InvalidData)?;
    let mut given_back = 0;
    for text in texts_of(program, &maps) {
        advise(&text)?;
        given_back += text.len();
    }
    Ok(given_back)
}

/// The mappings in `maps` (proc_pid_maps(5)) that execute `program` and cannot be written: what is
/// in them is what is in the file.
fn texts_of<'a>(program: &'a str, maps: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    maps.lines().filter_map(move |line| {
        let mut fields = line.splitn(6, ' ');
        let (range, permissions) = (fields.next()?, fields.next()?);
        let path = fields.nth(3)?.trim_start();
        if permissions != "r-xp" || path != program {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        Some(number(start)?..number(end)?)
    })
}

#[expect(unsafe_code, reason = "the kernel is told about addresses")]
fn advise(text: &Range<usize>) -> io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut(text.start);
    // SAFETY: the range is a private mapping of a file that the process executes. It is mapped
    // without the permission to write, so no page of it differs from the file, and the file cannot
    // be written while it is executed (ETXTBSY): a page that is dropped comes back as it was.
    unsafe { madvise(start, text.len(), Advice::LinuxDontNeed) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0a00000-55d0c0c00000 r--p 00000000 fe:00 1234                       /usr/bin/post house
55d0c0c00000-55d0c1c00000 r-xp 00200000 fe:00 1234                       /usr/bin/post house
55d0c1c00000-55d0c1d00000 rw-p 01200000 fe:00 1234                       /usr/bin/post house
55d0c1d00000-55d0c1e00000 rwxp 01300000 fe:00 1234                       /usr/bin/post house
7f0000000000-7f0000100000 r-xp 00000000 fe:00 99                         /usr/lib/libc.so.6
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                          [vdso]
7f1000000000-7f1000100000 rw-p 00000000 00:00 0 
";

    #[test]
    fn only_text_of_the_program_that_cannot_be_written_is_meant() {
        let mut found = texts_of("/usr/bin/post house", MAPS);
        assert_eq!(found.next(), Some(0x55d0_c0c0_0000..0x55d0_c1c0_0000));
        assert_eq!(found.next(), None);
        assert_eq!(texts_of("/usr/bin/post", MAPS).count(), 0);
    }

    #[test]
    fn less_is_resident_afterwards_and_the_program_goes_on() {
        let resident = || {
            let smaps = fs::read_to_string("/proc/self/smaps").expect("procfs");
            let program = fs::read_link("/proc/self/exe").expect("procfs");
            let program = program.to_str().expect("text").to_owned();
            let mut of_text = false;
            let mut kib = 0;
            for line in smaps.lines() {
                // A mapping's first line begins with its addresses, the others with a name.
                if line.split(' ').next().is_some_and(|word| word.contains('-')) {
                    of_text = line.contains(" r-xp ") && line.ends_with(&program);
                } else if of_text && let Some(rest) = line.strip_prefix("Rss:") {
                    let rest = rest.trim().trim_end_matches(" kB");
                    kib += rest.parse::<usize>().expect("a number");
                }
            }
            kib
        };
        let before = resident();
        let given_back = give_back_text().expect("the kernel takes the advice");
        let after = resident();
        assert!(given_back >= before * 1024, "{given_back} bytes of {before} KiB");
        assert!(after < before, "{before} KiB before, {after} KiB after");
    }
}
