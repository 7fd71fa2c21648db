/* The CUDA backend is a shared library that is loaded on demand, so that the program also runs without GPU and CUDA. The module uses no
 * symbols of the program but the functions passed to it here, and returns one backend. */
#ifndef SAEDIFF_DEV_MODULE_H
#define SAEDIFF_DEV_MODULE_H

#include "backend.h"

/* A checksum of struct sizes that program and module must share. */
#define SD_MODULE_LAYOUT                                                                                     \
    (sizeof(sd_backend) + 1000 * sizeof(struct sd_dev) + 1000000 * (sizeof(struct sd_buf) + sizeof(struct sd_fetch)) + \
     (sizeof(sd_dense_table) + sizeof(sd_dict_table) + sizeof(sd_step_table) + sizeof(sd_score_table) +      \
      sizeof(sd_grad_table) + sizeof(sd_group_backend) + sizeof(sd_transfer)) * (uint64_t)1000000000)

typedef struct sd_module_host {
    uint64_t layout;     /* SD_MODULE_LAYOUT of the program */
    const char *version; /* SAEDIFF_VERSION of the program */
    sd_status (*fail)(sd_status code, const char *file, int line, const char *format, ...) SD_PRINTF(4, 5);
    sd_status (*alloc)(void **out, uint64_t count, size_t size);
    void (*free)(void *memory);
    size_t (*dtype_size)(sd_dtype type);
    const char *(*dtype_name)(sd_dtype type);
    void (*error)(const char *format, ...) SD_PRINTF(1, 2);
} sd_module_host;

/* The module's one symbol: NULL for a program with another layout or version. `host` outlives the module. */
typedef const sd_backend *(*sd_module_entry)(const sd_module_host *host);
#define SD_MODULE_ENTRY "sd_cuda_module"

/* Local. Loads the module at the first call, and returns its backend. SD_E_ENV names what is missing: module, driver or library. */
SD_MUST_CHECK sd_status sd_module_open(const sd_backend **backend);
/* Whether module and driver exist, without loading the module: the first check of "auto". */
bool sd_module_promising(void);
/* For tests: this backend is the module's from now on. */
void sd_module_use(const sd_backend *backend);

#endif
