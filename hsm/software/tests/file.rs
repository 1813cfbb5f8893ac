//! The NVRAM file: its lock, its header, its rules.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use strongroom_hsm::nvram::{Nvram, Opened};
use strongroom_hsm::{Flash, FlashError};
use strongroom_hsm_software::{Error, FILE_GEOMETRY, FileFlash};

#[test]
fn a_new_file_is_an_empty_flash_for_its_user_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nvram");
    let mut flash = FileFlash::open(&path).unwrap();
    assert_eq!(flash.geometry(), FILE_GEOMETRY);
    assert!(matches!(Nvram::open(&mut flash), Ok(Opened::Empty(_))));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_in_use_is_refused_until_its_holder_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nvram");
    let flash = FileFlash::open(&path).unwrap();
    assert!(matches!(FileFlash::open(&path), Err(Error::Locked { .. })));
    drop(flash);
    FileFlash::open(&path).unwrap();
}

#[test]
fn only_one_of_many_that_start_at_once_gets_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nvram");
    let got: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| FileFlash::open(&path))).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let refused = got.iter().filter(|got| matches!(got, Err(Error::Locked { .. }))).count();
    let opened: Vec<_> = got.into_iter().filter_map(Result::ok).collect();
    assert_eq!((opened.len(), refused), (1, 7));
}

#[test]
fn a_file_that_was_half_made_when_power_failed_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nvram");
    fs::write(folder.path().join("nvram.new"), [0; 9000]).unwrap();
    let mut flash = FileFlash::open(&path).unwrap();
    assert!(matches!(Nvram::open(&mut flash), Ok(Opened::Empty(_))));
}

#[test]
fn a_file_of_another_size_or_kind_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nvram");
    drop(FileFlash::open(&path).unwrap());
    let whole = fs::read(&path).unwrap();
    for cut in [0, 1, 4095] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(matches!(FileFlash::open(&path), Err(Error::NotNvram { .. })), "{cut}");
        assert_eq!(fs::read(&path).unwrap(), &whole[..cut]);
    }
    for size in [4096, whole.len() - 1, whole.len() + 1] {
        let mut bytes = whole.clone();
        bytes.resize(size, 0xff);
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(FileFlash::open(&path), Err(Error::WrongSize { .. })), "{size}");
    }
    for header_byte in [0, 66, 71, 75, 4095] {
        let mut bytes = whole.clone();
        bytes[header_byte] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(FileFlash::open(&path), Err(Error::NotNvram { .. })), "{header_byte}");
    }
}

#[test]
fn what_is_programmed_and_erased_is_there_after_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nvram");
    let mut flash = FileFlash::open(&path).unwrap();
    flash.program(3, 65_528, &[0xf0; 8]).unwrap();
    flash.program(2, 0, &[7; 16]).unwrap();
    flash.erase(2).unwrap();
    drop(flash);
    let mut flash = FileFlash::open(&path).unwrap();
    let mut bytes = [0; 16];
    flash.read(3, 65_520, &mut bytes).unwrap();
    assert_eq!(bytes, [[0xff; 8], [0xf0; 8]].concat()[..]);
    flash.read(2, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [0xff; 16]);
}

#[test]
fn a_program_only_clears_bits() {
    let folder = tempfile::tempdir().unwrap();
    let mut flash = FileFlash::open(&folder.path().join("nvram")).unwrap();
    flash.program(0, 8, &[0x0f; 8]).unwrap();
    flash.program(0, 8, &[0x3c; 8]).unwrap();
    let mut bytes = [0; 8];
    flash.read(0, 8, &mut bytes).unwrap();
    assert_eq!(bytes, [0x0c; 8]);
}

#[test]
fn a_range_outside_the_flash_or_off_its_granules_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut flash = FileFlash::open(&folder.path().join("nvram")).unwrap();
    for (unit, offset, len) in
        [(4, 0, 8), (0, 65_536, 8), (0, 65_529, 8), (u32::MAX, u32::MAX, 8), (3, 65_528, 16)]
    {
        assert_eq!(flash.read(unit, offset, &mut vec![0; len]), Err(FlashError::OutOfRange));
        assert_eq!(flash.program(unit, offset, &vec![0; len]), Err(FlashError::OutOfRange));
    }
    assert_eq!(flash.program(0, 4, &[0; 8]), Err(FlashError::OutOfRange));
    assert_eq!(flash.program(0, 0, &[0; 4]), Err(FlashError::OutOfRange));
    assert_eq!(flash.erase(4), Err(FlashError::OutOfRange));
}
