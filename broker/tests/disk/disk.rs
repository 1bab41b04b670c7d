//! Disks of these tests: file systems in files, mounted through loop devices, whose power can be cut.
//!
//! Everything is unmounted when its value is dropped, also when a test panics. Drop the broker first.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: from now on nothing reaches the disk, not even the journal.
/// In perl, because the call is not wrapped by any safe function of Rust.
const CUT_POWER: &str = r#"open(my $folder, "<", $ARGV[0]) or die "open: $!";
my $flag = pack("L", 2);
ioctl($folder, 0x8004587d, $flag) or die "ioctl: $!";"#;

/// An ext4 file system in a file.
#[derive(Debug)]
pub(crate) struct Disk {
    mount: Option<Mount>,
    image: PathBuf,
    /// Goes last.
    scratch: TempDir,
}

impl Disk {
    /// A disk of so many MiB with an empty ext4.
    pub(crate) fn ext4(mib: u64) -> Self {
        Self::try_ext4(mib).unwrap()
    }

    /// A disk, if this machine can make one.
    pub(crate) fn try_ext4(mib: u64) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = scratch.path().join("image");
        let point = scratch.path().join("disk");
        make_ext4(&image, mib, &[])?;
        let mount = Mount::image(&image, &point)?;
        Ok(Self {
            mount: Some(mount),
            image,
            scratch,
        })
    }

    /// The data folder of the broker.
    pub(crate) fn data(&self) -> PathBuf {
        self.point().join("data")
    }

    /// Where the file system is mounted.
    pub(crate) fn point(&self) -> PathBuf {
        self.scratch.path().join("disk")
    }

    /// A folder that does not lie on this disk.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Cuts the power: what was not synced is gone, and every call on the disk fails.
    ///
    /// No process may be inside a sync of this disk: ext4 lets an fdatasync that the shutdown overtakes succeed
    /// although the blocks it wrote never became part of the file (reserved blocks that were not written before). After
    /// a real cut that call would not return. [`crate::broker::Broker::pause`] sees to it.
    pub(crate) fn cut_power(&self) {
        let point = self.point();
        run(
            "perl",
            &["-e", CUT_POWER, "--", &point.display().to_string()],
        )
        .unwrap();
    }

    /// Mounts the disk again, as after a power cut. No process may use it.
    pub(crate) fn mount_again(&mut self) {
        self.mount.take().unwrap().unmount().unwrap();
        self.mount = Some(Mount::image(&self.image, &self.point()).unwrap());
    }
}

/// A mounted file system. It is unmounted when the value is dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    point: PathBuf,
    is_mounted: bool,
}

impl Mount {
    /// Mounts the file system in `image` at `point`.
    pub(crate) fn image(image: &Path, point: &Path) -> Result<Self, String> {
        Self::new(&["-o", "loop", &image.display().to_string()], point)
    }

    /// Mounts a file system in memory at `point`.
    pub(crate) fn memory(mib: u64, point: &Path) -> Result<Self, String> {
        let size = format!("size={mib}m");
        Self::new(&["-t", "tmpfs", "-o", &size, "none"], point)
    }

    fn new(arguments: &[&str], point: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(point).map_err(|error| error.to_string())?;
        let at = point.display().to_string();
        run("mount", &[arguments, &[&at]].concat())?;
        Ok(Self {
            point: point.to_path_buf(),
            is_mounted: true,
        })
    }

    /// Where it is mounted.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// Unmounts it, so that nothing of it is cached any more.
    pub(crate) fn unmount(mut self) -> Result<(), String> {
        run("umount", &[&self.point.display().to_string()])?;
        self.is_mounted = false;
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_mounted {
            // If even the lazy way fails, nothing more can be done here.
            let point = self.point.display().to_string();
            let _ = run("umount", &[&point]).or_else(|_| run("umount", &["-l", &point]));
        }
    }
}

/// Makes an ext4 in a sparse file. Its own structures are written at once, so that nothing writes behind our back.
pub(crate) fn make_ext4(image: &Path, mib: u64, more: &[&str]) -> Result<(), String> {
    let file = File::create(image).map_err(|error| error.to_string())?;
    file.set_len(mib << 20).map_err(|error| error.to_string())?;
    let extended = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
    let path = image.display().to_string();
    let fixed = ["-q", "-F", "-b", "4096", "-m", "0", "-E", extended];
    run("mkfs.ext4", &[&fixed, more, &[&path]].concat())
}

/// A file that takes all the room that is left on a file system. The room is free again when the value is dropped.
#[derive(Debug)]
pub(crate) struct Filler {
    path: PathBuf,
}

impl Filler {
    /// Fills the file system of the folder `at`.
    pub(crate) fn fill(at: &Path) -> Self {
        let path = at.join("filler");
        let mut file = File::create(&path).unwrap();
        // Ever smaller pieces, until not even one block fits.
        for piece in [1 << 20, 64 << 10, 4 << 10] {
            let zeros = vec![b'z'; piece];
            while file.write_all(&zeros).is_ok() {}
        }
        // What was promised room but did not get it fails here, which is as full as can be.
        let _ = file.sync_all();
        Self { path }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // A file system that is gone has no filler either.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Runs a command of the system to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} {}: {}",
        arguments.join(" "),
        words.trim()
    ))
}
