/* The CUDA backend is a module of its own, loaded when it is asked for: the program starts and works where there is neither GPU nor CUDA.
 * The module takes nothing from the program but the functions handed to it here, and gives one backend. */
#ifndef SAEDIFF_DEV_MODULE_H
#define SAEDIFF_DEV_MODULE_H

#include "backend.h"

/* What program and module must have in common to understand each other. */
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

/* Local. Loads the module, at the first call, and gives its backend. SD_E_ENV names what is missing: module, driver or library. */
SD_MUST_CHECK sd_status sd_module_open(const sd_backend **backend);
/* Whether module and driver are there, without loading the module: "auto" looks no further where they are not. */
bool sd_module_promising(void);
/* For tests: this backend is the module's from now on. */
void sd_module_use(const sd_backend *backend);

#endif
