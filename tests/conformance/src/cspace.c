/* cspace: copy, mint, move, delete, revoke, destroy, inspect, info; derivation trees; other processes' tables. */
#include <conformance.h>
#include <tess/stub/cspace.h>
#include <tess/stub/event.h>
#include <tess/stub/untyped.h>

struct inspected {
    uint32_t type, rights;
    uint64_t badge, id;
};

static struct inspected look(handle_t cspace, handle_t handle)
{
    struct inspected result = {};
    EXPECT_OK(tess_cspace_inspect(cspace, handle, &result.type, &result.rights, &result.badge, &result.id));
    return result;
}

static status_t state_of(handle_t handle)
{
    uint32_t type, rights;
    uint64_t badge, id;
    return tess_cspace_inspect(std_self.cspace, handle, &type, &rights, &badge, &id);
}

static void copy(void)
{
    handle_t event, less, none, out;
    if (!EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event)))
        return;
    EXPECT_EQUAL(look(std_self.cspace, event).type, OBJECT_EVENT);
    EXPECT_OK(tess_cspace_copy(std_self.cspace, event, RIGHT_COPY | EVENT_RIGHT_WAIT, &less));
    EXPECT_EQUAL(look(std_self.cspace, less).rights, RIGHT_COPY | EVENT_RIGHT_WAIT);
    EXPECT_EQUAL(look(std_self.cspace, less).id, look(std_self.cspace, event).id);
    EXPECT_OK(tess_cspace_copy(std_self.cspace, less, RIGHTS_ALL, &out)); /* rights never grow */
    EXPECT_EQUAL(look(std_self.cspace, out).rights, RIGHT_COPY | EVENT_RIGHT_WAIT);
    handle_drop(out);
    EXPECT_OK(tess_cspace_copy(std_self.cspace, event, 0, &none));
    EXPECT_STATUS(tess_cspace_copy(std_self.cspace, none, RIGHTS_ALL, &out), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_cspace_mint(std_self.cspace, none, RIGHTS_ALL, 0, &out), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_cspace_move(std_self.cspace, none, &out), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_cspace_revoke(std_self.cspace, none), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_cspace_destroy(std_self.cspace, none), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_cspace_copy(std_self.cspace, HANDLE_NONE, RIGHTS_ALL, &out), ERROR_BAD_HANDLE);
    handle_drop(less);
    EXPECT_STATUS(tess_cspace_copy(std_self.cspace, less, RIGHTS_ALL, &out), ERROR_STALE_HANDLE);
    EXPECT_STATUS(tess_cspace_delete(std_self.cspace, less), ERROR_STALE_HANDLE);
    EXPECT_OK(tess_event_set(event, 1));
    handle_drop(none); /* deleting needs no right of the handle */
    handle_drop(event);
}

static void mint(void)
{
    handle_t endpoint, badged, again, event, out;
    if (!EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint)) ||
        !EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event)))
        return;
    EXPECT_OK(tess_cspace_mint(std_self.cspace, endpoint, RIGHTS_ALL, 0x1234567890ull, &badged));
    EXPECT_EQUAL(look(std_self.cspace, badged).badge, 0x1234567890ull);
    EXPECT_EQUAL(look(std_self.cspace, badged).rights & RIGHT_OWNER, 0);
    EXPECT_STATUS(tess_cspace_mint(std_self.cspace, badged, RIGHTS_ALL, 5, &out), ERROR_ALREADY);
    EXPECT_OK(tess_cspace_mint(std_self.cspace, badged, RIGHT_COPY, 0, &again)); /* fewer rights, the same badge */
    EXPECT_EQUAL(look(std_self.cspace, again).badge, 0x1234567890ull);
    EXPECT_EQUAL(look(std_self.cspace, again).rights, RIGHT_COPY);
    EXPECT_OK(tess_cspace_copy(std_self.cspace, again, RIGHTS_ALL, &out));
    EXPECT_EQUAL(look(std_self.cspace, out).badge, 0x1234567890ull);
    handle_t client = with_rights(endpoint, RIGHTS_ALL & ~(uint32_t)RIGHT_OWNER);
    EXPECT_STATUS(tess_cspace_mint(std_self.cspace, client, RIGHTS_ALL, 7, &out), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_cspace_mint(std_self.cspace, event, RIGHTS_ALL, 7, &out), ERROR_WRONG_TYPE);
    EXPECT_OK(tess_cspace_mint(std_self.cspace, event, EVENT_RIGHT_WAIT, 0, &out));
    EXPECT_EQUAL(look(std_self.cspace, out).rights, EVENT_RIGHT_WAIT);
}

static void move(void)
{
    handle_t event, moved, table, out;
    if (!EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event)) ||
        !EXPECT_OK(tess_untyped_create_cspace(std_self.untyped, 2, &table)))
        return;
    EXPECT_OK(tess_cspace_move(std_self.cspace, event, &moved)); /* inside one table */
    EXPECT_EQUAL(state_of(event), ERROR_STALE_HANDLE);
    EXPECT_OK(tess_cspace_move(table, moved, &out));
    EXPECT_EQUAL(state_of(moved), ERROR_STALE_HANDLE);
    EXPECT_EQUAL(look(table, out).type, OBJECT_EVENT);
    /* The other table is full after one more; a refused move leaves the source alone. */
    handle_t a, b;
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &a));
    EXPECT_OK(tess_untyped_create_event(std_self.untyped, &b));
    EXPECT_OK(tess_cspace_move(table, a, &out));
    EXPECT_STATUS(tess_cspace_move(table, b, &out), ERROR_NO_HANDLES);
    EXPECT_STATUS(tess_cspace_copy(table, b, RIGHTS_ALL, &out), ERROR_NO_HANDLES);
    EXPECT_OK(tess_event_set(b, 1));
    handle_destroy(table); /* the events in it go with it */
    handle_drop(b);
}

static void tables(void)
{
    handle_t table, event, there;
    uint32_t used, limit;
    if (!EXPECT_OK(tess_untyped_create_cspace(std_self.untyped, 200, &table)) ||
        !EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event)))
        return;
    EXPECT_OK(tess_cspace_info(table, &used, &limit));
    EXPECT_EQUAL(used, 0);
    EXPECT_EQUAL(limit, 200);
    for (uint32_t i = 0; i < 200; i++)
        EXPECT_OK(tess_cspace_copy(table, event, RIGHTS_ALL, &there));
    EXPECT_STATUS(tess_cspace_copy(table, event, RIGHTS_ALL, &there), ERROR_NO_HANDLES);
    EXPECT_OK(tess_cspace_info(table, &used, &limit));
    EXPECT_EQUAL(used, 200);
    EXPECT_STATUS(tess_cspace_delete(table, event), ERROR_BAD_HANDLE); /* a handle of another table means nothing here */
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, event));
    EXPECT_OK(tess_cspace_info(table, &used, &limit));
    EXPECT_EQUAL(used, 0);
    EXPECT_OK(tess_cspace_copy(table, event, RIGHTS_ALL, &there));
    EXPECT_OK(tess_cspace_destroy(table, there)); /* through a handle of that table */
    EXPECT_EQUAL(state_of(event), ERROR_STALE_HANDLE);
    handle_drop(table);
}

/* A tree of copies: revoking a node takes its descendants and nothing else; deleting one hands its children to its parent. */
static void revoke_tree(void)
{
    handle_t root, a, b, a1, a2, a11, b1;
    if (!EXPECT_OK(tess_untyped_create_event(std_self.untyped, &root)))
        return;
    a = with_rights(root, RIGHTS_ALL);
    b = with_rights(root, RIGHTS_ALL);
    a1 = with_rights(a, RIGHTS_ALL);
    a2 = with_rights(a, RIGHTS_ALL);
    a11 = with_rights(a1, RIGHTS_ALL);
    b1 = with_rights(b, RIGHTS_ALL);
    handle_drop(a1);
    EXPECT_OK(state_of(a11));
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, a));
    EXPECT_OK(state_of(a));
    EXPECT_EQUAL(state_of(a2), ERROR_STALE_HANDLE);
    EXPECT_EQUAL(state_of(a11), ERROR_STALE_HANDLE);
    EXPECT_OK(state_of(b1));
    handle_t moved;
    EXPECT_OK(tess_cspace_move(std_self.cspace, b1, &moved)); /* a moved handle keeps its place in the tree */
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, b));
    EXPECT_EQUAL(state_of(moved), ERROR_STALE_HANDLE);
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, root));
    EXPECT_EQUAL(state_of(a), ERROR_STALE_HANDLE);
    EXPECT_EQUAL(state_of(b), ERROR_STALE_HANDLE);
    EXPECT_OK(state_of(root));
    handle_drop(root);
}

static void revoke_many(void)
{
    handle_t root, table, last = HANDLE_NONE;
    uint32_t used, limit;
    if (!EXPECT_OK(tess_untyped_create_event(std_self.untyped, &root)) ||
        !EXPECT_OK(tess_untyped_create_cspace(std_self.untyped, 8192, &table)))
        return;
    for (uint32_t i = 0; i < 4000; i++)
        EXPECT_OK(tess_cspace_copy(table, root, RIGHTS_ALL, &last));
    EXPECT_OK(tess_cspace_info(table, &used, &limit));
    EXPECT_EQUAL(used, 4000);
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, root)); /* long: in several steps, other threads run in between */
    EXPECT_OK(tess_cspace_info(table, &used, &limit));
    EXPECT_EQUAL(used, 0);
    handle_drop(table);
    handle_drop(root);
}

static void destroy(void)
{
    handle_t event, other, out;
    if (!EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event)))
        return;
    other = with_rights(event, RIGHTS_ALL);
    handle_destroy(other);
    EXPECT_EQUAL(state_of(event), ERROR_STALE_HANDLE);
    EXPECT_EQUAL(state_of(other), ERROR_STALE_HANDLE);
    EXPECT_STATUS(tess_cspace_destroy(std_self.cspace, event), ERROR_STALE_HANDLE);
    EXPECT_STATUS(tess_cspace_destroy(std_self.cspace, HANDLE_NONE), ERROR_BAD_HANDLE);
    EXPECT(tess_cspace_destroy(std_self.cspace, guest.root) != OK);
    EXPECT(tess_cspace_destroy(std_self.cspace, guest.system) != OK);
    EXPECT_STATUS(tess_untyped_create_event(event, &out), ERROR_STALE_HANDLE);
}

/* Generations: a slot used again and again never lets an old handle through. */
static void generations(void)
{
    handle_t old[64], event;
    if (!EXPECT_OK(tess_untyped_create_event(std_self.untyped, &event)))
        return;
    for (uint32_t i = 0; i < 2000; i++) {
        handle_t now = with_rights(event, RIGHTS_ALL);
        for (uint32_t k = 0; k < 64 && k < i; k++)
            EXPECT(old[k] != now);
        old[i % 64] = now;
        handle_drop(now);
        EXPECT_EQUAL(state_of(old[i / 2 % 64]), ERROR_STALE_HANDLE);
    }
    handle_drop(event);
}

/* ---- Several threads ---- */

struct race {
    handle_t root;
    _Atomic bool is_over;
    _Atomic uint64_t count;
};

static void copies(void *context)
{
    struct race *race = context;
    while (!atomic_load(&race->is_over)) {
        handle_t a, b;
        if (tess_cspace_copy(std_self.cspace, race->root, RIGHTS_ALL, &a) != OK)
            continue;
        status_t status = tess_cspace_copy(std_self.cspace, a, RIGHTS_ALL, &b);
        EXPECT(status == OK || status == ERROR_STALE_HANDLE || status == ERROR_BAD_HANDLE);
        if (status == OK)
            std_handle_delete(b);
        std_handle_delete(a);
        atomic_fetch_add(&race->count, 1);
    }
}

static void revoke_while_copied(void)
{
    struct race race = {};
    struct std_thread threads[3];
    if (!EXPECT_OK(tess_untyped_create_event(std_self.untyped, &race.root)))
        return;
    for (uint32_t i = 0; i < 3; i++)
        thread_start(&threads[i], copies, &race);
    uint64_t end = time_after_ns(300 * NS_PER_MS);
    while (time_now_ns() < end)
        EXPECT_OK(tess_cspace_revoke(std_self.cspace, race.root));
    atomic_store(&race.is_over, true);
    for (uint32_t i = 0; i < 3; i++)
        thread_join(&threads[i]);
    EXPECT(atomic_load(&race.count) > 0);
    EXPECT_OK(tess_cspace_revoke(std_self.cspace, race.root));
    test_note("%lu copies", atomic_load(&race.count));
    handle_drop(race.root);
}

static void verify(void)
{
    handle_t endpoint, other, badged, blind;
    uint32_t rights;
    uint64_t badge;
    handle_t cspace = std_self.cspace;
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &endpoint));
    EXPECT_OK(tess_untyped_create_endpoint(std_self.untyped, &other));
    EXPECT_OK(tess_cspace_mint(cspace, endpoint, RIGHT_COPY | RIGHT_INSPECT, 55, &badged));
    EXPECT_OK(tess_cspace_verify(cspace, badged, endpoint, &rights, &badge));
    EXPECT_EQUAL(rights, RIGHT_COPY | RIGHT_INSPECT);
    EXPECT_EQUAL(badge, 55);
    EXPECT_OK(tess_cspace_verify(cspace, endpoint, endpoint, &rights, &badge));
    EXPECT_EQUAL(badge, 0);
    EXPECT_STATUS(tess_cspace_verify(cspace, badged, other, &rights, &badge), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_cspace_verify(cspace, cspace, endpoint, &rights, &badge), ERROR_NOT_FOUND);
    EXPECT_STATUS(tess_cspace_verify(cspace, endpoint, badged, &rights, &badge), ERROR_MISSING_RIGHT);
    EXPECT_STATUS(tess_cspace_verify(cspace, ~0ull, endpoint, &rights, &badge), ERROR_BAD_HANDLE);
    EXPECT_STATUS(tess_cspace_verify(cspace, badged, ~0ull, &rights, &badge), ERROR_BAD_HANDLE);
    EXPECT_OK(tess_cspace_copy(cspace, cspace, RIGHTS_ALL & ~(uint32_t)RIGHT_INSPECT, &blind));
    EXPECT_STATUS(tess_cspace_verify(blind, badged, endpoint, &rights, &badge), ERROR_MISSING_RIGHT);
    handle_drop(blind);
    handle_drop(badged);
    EXPECT_STATUS(tess_cspace_verify(cspace, badged, endpoint, &rights, &badge), ERROR_STALE_HANDLE);
    handle_drop(other);
    handle_drop(endpoint);
}

void cspace_tests(void)
{
    static const struct test tests[] = {
        {"cspace.verify", verify},
        {"cspace.copy", copy},
        {"cspace.mint", mint},
        {"cspace.move", move},
        {"cspace.tables", tables},
        {"cspace.revoke_tree", revoke_tree},
        {"cspace.revoke_many", revoke_many},
        {"cspace.destroy", destroy},
        {"cspace.generations", generations},
        {"cspace.revoke_while_copied", revoke_while_copied},
    };
    tests_run(tests, ARRAY_LENGTH(tests));
}
