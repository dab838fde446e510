//! logger-service over HTTP. Every case runs on SQLite and on PostgreSQL.

mod away;
mod compressed;
mod dead_letter_listing;
mod dead_letter_marks;
mod dead_letters;
mod faults;
mod load;
mod log;
mod logs;
mod server;
mod writing;

/// Runs each case once on either database.
macro_rules! on_both_databases {
    ($($module:ident::$case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$module::$case(super::server::Site::on_sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                super::$module::$case(super::server::Site::on_postgres().await).await;
            })*
        }
    };
}

on_both_databases! {
    log::a_delivered_event_is_given_back_as_it_came,
    log::a_structured_event_is_stored_as_what_it_holds,
    log::a_plain_entry_needs_no_cloudevents,
    log::any_body_is_kept,
    log::texts_of_any_kind_are_kept,
    log::the_first_event_with_an_id_stays,
    log::what_is_refused_is_not_stored,
    compressed::compressed_data_is_shown_and_searched_as_what_it_holds,
    compressed::what_cannot_be_decompressed_is_shown_as_it_came_with_the_reason,
    logs::pages_cover_a_listing_that_grows,
    logs::filters_select,
    logs::a_search_takes_wildcards_literally,
    logs::times_select_by_arrival,
    logs::a_page_is_bounded_by_its_size,
    logs::bad_queries_are_refused,
    logs::deep_data_parses_at_the_client,
    writing::of_many_deliveries_at_once_one_is_stored,
    writing::what_is_answered_is_committed,
    writing::a_locked_table_is_503_and_then_works_again,
    writing::events_outlive_the_service,
    writing::a_death_that_is_answered_is_committed,
    faults::a_commit_that_fails_is_no_2xx,
    faults::a_lock_longer_than_a_write_waits_loses_nothing,
    dead_letters::a_dead_letter_is_given_back_as_it_came,
    dead_letters::its_data_alone_is_a_download,
    dead_letters::an_event_that_dies_again_is_the_same_dead_letter,
    dead_letters::the_first_failure_stays_the_earliest_one,
    dead_letters::a_dead_letter_is_found_by_the_id_of_its_event,
    dead_letters::of_one_death_reported_many_times_at_once_one_is_new,
    dead_letters::any_message_of_any_producer_is_taken,
    dead_letters::what_the_listener_did_wrong_is_refused,
    dead_letters::large_data_is_taken_and_larger_is_refused,
    dead_letter_listing::pages_cover_a_listing_of_dead_letters,
    dead_letter_listing::filters_select_dead_letters,
    dead_letter_listing::states_and_times_of_death_select,
    dead_letter_listing::bad_queries_for_dead_letters_are_refused,
    dead_letter_marks::a_replay_is_marked_unless_the_event_died_again,
    dead_letter_marks::what_is_discarded_may_be_replayed_all_the_same,
    dead_letter_marks::what_is_not_there_is_404,
    dead_letter_marks::a_filter_discards_what_is_dead_and_matches,
    dead_letter_marks::all_are_discarded_only_by_that_word,
}
