//! A realm that is worth looking at: five hosts, two groups that share one of them, users who come and go, and whatever else
//! the options say, until it is told to end.

use crate::Error;
use crate::ceremony::patiently;
use crate::local::{LocalRealm, MEMBERS, Setting};
use clap::Args;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};
use std::path::Path;
use std::time::{Duration, SystemTime};
use strongroom_agent::config::PeerUrl;
use strongroom_agent::peers::{Announcement, AnnouncementName};
use strongroom_client::{Client, Pin, UserSecret};
use strongroom_proto::ids::{GroupId, HsmId, RealmId};
use strongroom_proto::prefix::Prefix;

/// What a stranger who can write to the store puts where agents look for each other.
const HOSTILE: &str =
    "<img src=x onerror=\"document.documentElement.dataset.hostile=1\"><script>alert(1)</script>";
/// How many more hosts than the first group has.
const SPARES: usize = 2;
/// How many users there are, and how long each does nothing after an operation.
const USERS: usize = 24;
const REST: Duration = Duration::from_millis(300);

/// What the realm is like.
#[derive(Args)]
pub struct Options {
    /// Announce an agent in the store whose version is markup.
    #[arg(long)]
    hostile: bool,
    /// Take away an HSM that both groups have.
    #[arg(long)]
    without_hsm: bool,
    /// Leave a prefix on its way from one group to the other.
    #[arg(long)]
    moving: bool,
}

/// Runs it until an agent fails.
///
/// # Errors
/// The realm cannot be made.
pub async fn run(options: Options) -> Result<(), Error> {
    let folder = tempfile::Builder::new().prefix("strongroom-page-").tempdir()?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let setting = Setting { pages: true, spares: SPARES, events: NonZeroU16::new(1), ..Setting::default() };
    let mut local = LocalRealm::start_with(folder.path(), any, setting)?;
    let realm = local.make_whole().await?;
    local.leader(None).await?;
    let (first, second) = second_group(&local).await?;
    let (left, right) = Prefix::WHOLE.children().ok_or("the whole has halves")?;
    let (near, far) = right.children().ok_or("a half has halves")?;
    divide(&local, first, Prefix::WHOLE).await?;
    divide(&local, first, right).await?;
    move_over(&local, far, first, second, true).await?;
    if options.moving {
        move_over(&local, near, first, second, false).await?;
    }
    if options.hostile {
        plant(&local.dir().join("store"), &realm)?;
    }
    // Those of what is on its way would have to wait.
    let users = if options.moving { 0 } else { USERS };
    for user in 0..users {
        let client = local.fast_client(user % MEMBERS, &format!("user-{user}")).await?;
        tokio::spawn(come_and_go(client));
    }
    if options.without_hsm {
        local.kill_hsm(MEMBERS - 1);
    }
    let others: Vec<String> = (1..MEMBERS + SPARES).filter_map(|i| local.page(i)).collect();
    println!("Others: {}", others.join(" "));
    println!("Status page: {}", local.page(0).ok_or("agents show no page")?);
    println!("Ctrl-C ends it. {left} and {near} are the first group's, {far} the second's.");
    Err(local.ended().await.into())
}

/// Makes a group of the last host of the first and of the spares.
async fn second_group(local: &LocalRealm) -> Result<(GroupId, GroupId), Error> {
    let first = local.groups(0).first().map(|(group, _)| *group).ok_or("the first group runs")?;
    let mut members = Vec::new();
    for i in MEMBERS - 1..MEMBERS + SPARES {
        if i >= MEMBERS {
            local.enrol(i).await?;
        }
        members.push(local.device(i).await?.hsm);
    }
    let mut admin = local.admin(MEMBERS - 1).await?;
    let made = patiently("the hosts do not find each other", async || {
        let made = admin.create_group(&members).await.ok();
        Ok(made.filter(|made| made.missing.is_empty()))
    })
    .await?;
    Ok((first, made.statement.group))
}

/// Has a group own the halves of a prefix, however busy the machine is.
async fn divide(local: &LocalRealm, group: GroupId, prefix: Prefix) -> Result<(), Error> {
    let (half, _) = prefix.children().ok_or("a prefix that short has halves")?;
    let mut admin = local.admin(0).await?;
    patiently("the prefix is not divided", async || {
        let groups = local.groups(0);
        let mut of_group = groups.iter().filter(|(of, _)| *of == group);
        if of_group.any(|(_, status)| status.prefixes.contains(&half)) {
            return Ok(Some(()));
        }
        // It may be done all the same.
        Ok(admin.divide(group, prefix, false).await.ok().map(drop))
    })
    .await
}

/// Moves a prefix: over, or only away.
async fn move_over(
    local: &LocalRealm,
    prefix: Prefix,
    from: GroupId,
    to: GroupId,
    over: bool,
) -> Result<(), Error> {
    let mut admin = local.admin(MEMBERS - 1).await?;
    patiently("the prefix does not move", async || {
        let step = admin.move_on(Some(prefix), Some(from), to).await.ok().flatten();
        Ok(step.filter(|(_, done)| *done || !over).map(drop))
    })
    .await
}

/// Puts a lie where agents look for each other.
fn plant(store: &Path, realm: &RealmId) -> Result<(), Error> {
    let address = PeerUrl::try_from("https://127.0.0.1:1".to_owned())?;
    let said = Announcement::new(HsmId([0xee; 16]), &address, [0; 32], HOSTILE, Vec::new());
    let (bytes, now) = (said.to_bytes(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?);
    let name = AnnouncementName::new(said.hsm, now.as_secs(), &bytes);
    let agents = store.join(format!("realms/{realm}/agents"));
    fs::create_dir_all(&agents)?;
    fs::write(agents.join(name.to_string()), bytes)?;
    Ok(())
}

/// A user who registers once and recovers again and again.
async fn come_and_go(client: Client) {
    let (pin, guesses) = (Pin::from("4821"), NonZeroU8::MAX);
    let Ok(secret) = UserSecret::new(b"what the user entrusts") else { return };
    loop {
        let registered = client.register(&pin, &secret, b"", guesses).await;
        tokio::time::sleep(REST).await;
        if registered.is_ok() {
            break;
        }
    }
    loop {
        // Whatever comes of it: the page is what is looked at.
        let _ = client.recover(&pin, b"").await;
        tokio::time::sleep(REST).await;
    }
}
