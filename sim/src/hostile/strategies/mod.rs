//! Named strategies: every known attack of this family, each as a host would go about it.
//!
//! None knows whether it works. Each is a few steps that only a host with a reason would take one after another;
//! random steps before and after make variants of it.

mod heads;
mod log;
mod plays;
mod reads;
mod realm;
mod records;
mod retirement;
mod sessions;
mod staging;
mod tells;
mod transfers;
mod trees;

use super::hunt::Hunt;

/// One strategy.
pub(super) type Strategy = fn(&mut Hunt);

/// All of them.
pub(super) const STRATEGIES: &[Strategy] = &[
    records::use_as_everybody_does,
    records::guess_until_nothing_is_left,
    records::guess_twice_in_one_batch,
    records::send_one_guess_again,
    records::send_a_wrong_tag,
    records::send_the_right_tag_after_the_last_guess,
    records::send_tags_until_one_is_right,
    records::ask_for_a_record_that_is_not_there,
    records::use_a_registration_that_was_deleted_or_replaced,
    records::register_again_and_again,
    records::guess_after_a_right_tag,
    records::guess_the_same_after_a_right_tag,
    staging::change_a_pin_as_everybody_does,
    staging::guess_at_both_until_nothing_is_left,
    staging::stage_what_is_there_already,
    staging::stage_between_guesses_at_the_present,
    staging::use_what_an_activation_replaced,
    staging::activate_what_is_not_staged,
    staging::use_what_was_staged_before_all_was_replaced,
    staging::guess_at_one_after_the_tag_of_the_other,
    staging::erase_one_of_two,
    staging::stage_where_nothing_is_registered,
    sessions::use_a_session_for_another_record,
    sessions::answer_of_an_abandoned_guess,
    sessions::ask_again_before_the_commit,
    sessions::send_what_is_no_request,
    sessions::go_on_after_a_bad_message,
    sessions::replay_handshakes_everywhere,
    sessions::guess_in_a_handshake,
    sessions::use_a_session_after_stepping_down,
    sessions::open_a_session_where_the_record_is_not,
    sessions::knock_with_a_request,
    sessions::open_many_between_guess_and_tag,
    sessions::guess_in_many_between_guess_and_tag,
    trees::guess_on_an_old_tree,
    trees::guess_on_a_tree_made_by_hand,
    trees::guess_on_a_tree_of_another_prefix,
    trees::hide_a_registration,
    trees::send_a_deep_tree,
    trees::send_one_tree_twice,
    log::lead_at_two_with_one_guess_each,
    log::release_a_beaten_guess,
    log::release_an_abandoned_guess,
    log::commit_with_too_little,
    log::commit_with_another_fork,
    log::commit_with_a_stranger,
    log::commit_with_the_end_of_another_fork,
    log::commit_past_the_fork,
    log::commit_with_forged_statements,
    log::jump_with_forged_statements,
    log::jump_with_a_strangers_statement,
    log::make_entries_after_being_overtaken,
    log::ask_for_a_statement_of_nothing,
    log::send_bytes_behind,
    log::jump_to_an_uncommitted_fork,
    log::jump_backwards,
    log::jump_beside_the_committed,
    log::make_entries_after_being_beaten,
    log::capture_another_fork,
    log::capture_two_forks_at_once,
    log::capture_what_nobody_made,
    log::capture_of_another_group,
    log::lead_from_a_forgery,
    log::lead_again_and_again,
    log::cut_the_power_of_a_capture,
    log::withhold_and_release_later,
    log::fill_the_memory,
    reads::read_as_everybody_does,
    reads::list_what_is_not_committed,
    reads::list_after_many_guesses,
    reads::confirm_with_what_was_said_before,
    reads::confirm_with_an_older_nonce,
    reads::confirm_with_another_fork,
    reads::confirm_with_too_little,
    reads::read_an_uncommitted_charge,
    reads::read_the_answer_to_an_uncommitted_guess,
    reads::confirm_after_leading_again,
    reads::confirm_after_stepping_down,
    reads::state_what_is_not_captured,
    reads::state_nothing,
    realm::carry_off_the_seed,
    realm::carry_off_the_seed_after_a_restart,
    realm::enrol_another_hsm,
    realm::pass_off_another_realm,
    realm::make_and_join_groups,
    realm::join_again,
    realm::make_groups_everywhere,
];

/// Those for episodes in which prefixes move.
pub(super) const TRANSFERS: &[Strategy] = &[
    transfers::guess_before_and_after_a_move,
    transfers::guess_at_the_former_owner,
    transfers::take_what_was_let_go_before,
    transfers::take_twice,
    transfers::let_go_after_a_refusal,
    transfers::let_go_what_was_given_up,
    transfers::let_go_what_is_awaited_from_another,
    transfers::let_go_two_at_once,
    transfers::wait_for_several_at_once,
    transfers::give_up_too_early,
    transfers::close_too_early,
    transfers::take_what_was_not_let_go_for_good,
    transfers::let_go_on_two_forks,
    transfers::take_on_two_forks,
    transfers::take_by_forged_evidence,
    transfers::split_and_merge_blindly,
    transfers::own_more_than_there_is_room_for,
    transfers::fill_the_room_of_what_is_awaited,
    transfers::read_what_is_not_taken_for_good,
    transfers::fill_the_memory_from_two_groups,
    transfers::wait_for_each_other,
    transfers::wait_for_what_cannot_come,
];

/// Those for episodes in which groups retire.
pub(super) const ENDS: &[Strategy] = &[
    retirement::retire_and_come_back,
    retirement::empty_a_group_and_come_back,
    retirement::retire_with_everything,
    retirement::retire_while_waiting,
    retirement::retire_after_letting_go,
    retirement::go_on_after_the_last,
    retirement::leave_before_the_last_is_committed,
    retirement::leave_what_goes_on,
    retirement::leave_because_another_has_retired,
    retirement::end_because_another_has_retired,
];

/// Those for episodes in which logs are summed up and signed.
pub(super) const HEADS: &[Strategy] = &[
    heads::sign_as_everybody_does,
    heads::carry_on_a_forged_head,
    heads::leave_out_an_entry,
    heads::sum_up_entries_of_another_group,
    heads::sign_a_forged_head,
    heads::sign_what_is_only_captured,
    heads::sign_another_fork,
    heads::sum_up_what_nobody_made,
    heads::sum_up_in_another_realm,
];

/// Those for episodes in which tenants are told.
pub(super) const TELLS: &[Strategy] = &[
    tells::tell_as_everybody_does,
    tells::tell_what_is_not_committed,
    tells::tell_another_fork,
    tells::leave_out_an_entry_between,
    tells::tell_the_host,
    tells::tell_of_others,
    tells::use_what_is_said_of_the_past,
    tells::tell_what_nobody_made,
    tells::tell_in_another_realm,
];
