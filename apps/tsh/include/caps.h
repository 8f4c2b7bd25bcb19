/*
 * What a handle lets its holder do, in words. Pure: the caller finds out whose endpoint or process it is. Right names come from
 * the tables generated from abi/.
 */
#pragma once
#include <stddef.h>
#include <tess/abi.h>

/* What the caller knows of the object behind a handle; strings may be nullptr. */
struct caps_target {
    const char *name;   /* endpoint: the service that answers; process, thread: the process's name */
    uint32_t interface; /* endpoint: what it speaks; 0 = unknown */
};

/* A sentence without "may": "call httpd:http (observe)". Always terminates; cut when too long. */
void caps_describe(char *buffer, size_t size, const struct tess_handle_info *info, const struct caps_target *target);

/* The generic rights it has, as words: "copy move mint watch". */
void caps_generic_rights(char *buffer, size_t size, uint32_t rights);

/* A warning that belongs to the process as a whole, for this handle; nullptr when there is none. */
const char *caps_warning(const struct tess_handle_info *info);
