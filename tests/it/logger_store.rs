//! logger-service over HTTP. Every case runs on SQLite and on PostgreSQL.

mod away;
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
    log::a_plain_entry_needs_no_cloudevents,
    log::any_body_is_kept,
    log::texts_of_any_kind_are_kept,
    log::the_first_event_with_an_id_stays,
    log::what_is_refused_is_not_stored,
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
}
