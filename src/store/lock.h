/* The lock of a run folder: run.lock, held with fcntl, so that it ends with its process. The file's text says who holds it. Local. */
#ifndef SAEDIFF_STORE_LOCK_H
#define SAEDIFF_STORE_LOCK_H

#include "saediff/core/status.h"

/* *descriptor holds the lock. SD_E_ENV naming the holder if another process has it. */
SD_MUST_CHECK sd_status sd_lock_take(const char *folder, int *descriptor);
/* Fine for −1; leaves −1. */
void sd_lock_give(int *descriptor);

#endif
