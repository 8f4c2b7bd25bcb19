#include <tess/serve/directory.h>
#include <tess/serve/file.h>
#include <tmpfs/service.h>

status_t service_init(struct service *service, struct allocator *allocator, const struct tmpfs_place *place)
{
    status_t status = tmpfs_init(&service->fs, allocator, place);
    if (status == OK) {
        service->superuser = (struct credentials){.users = 1};
        service->first = (struct open_file){
            .inode = service->fs.root, .root = service->fs.root, .cred = &service->superuser, .flags = OPEN_READ | OPEN_PATH};
    }
    return status;
}

void service_destroy(struct service *service)
{
    for (uint32_t i = 0; i < service->file_size; i++) {
        struct open_file *file = &service->files[i];
        if (file->inode != nullptr) {
            open_file_close(service, BADGE_OPEN | (uint64_t)(file->generation & INT32_MAX) << 32 | i);
        }
    }
    if (service->files != nullptr) {
        allocator_release(service->fs.allocator, service->files, (size_t)service->file_size * sizeof(struct open_file));
    }
    tmpfs_destroy(&service->fs);
}

status_t service_call(struct service *service, struct tess_call *call)
{
    struct request request = {.service = service, .file = open_file_find(service, call->badge), .badge = call->badge};
    call->reply_words = call->reply_handles = 0;
    if (request.file == nullptr) {
        return ERROR_STALE_HANDLE;
    }
    status_t status = op_interface(call->op) == INTERFACE_FILE ? file_dispatch(&file_methods, &request, call)
                                                               : directory_dispatch(&directory_methods, &request, call);
    call->reply_move_mask = call->reply_handles != 0; /* it was made for its receiver */
    if (call->handles_taken) {
        /* None is ever kept. */
        for (uint32_t i = 0; i < call->handle_count; i++) {
            host_handle_delete(call->handles[i]);
        }
    }
    return status;
}

void service_badge_gone(struct service *service, uint64_t badge) { open_file_close(service, badge); }

void service_cancelled(struct service *service, uint64_t token) { lock_cancel(&service->fs, token); }
