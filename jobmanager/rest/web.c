/* The page, web/index.html, as bytes in the program: read at build (the dependency is in mk/binaries.mk). */
#include "jobmanager/rest/rest_int.h"

__asm__(".section .rodata\n"
        ".global weir_rest_page_start\n"
        ".global weir_rest_page_end\n"
        "weir_rest_page_start:\n"
        ".incbin \"jobmanager/rest/web/index.html\"\n"
        "weir_rest_page_end:\n"
        ".byte 0\n"
        ".previous\n");
