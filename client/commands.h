/* The `weir` command line; returns the exit code. */
#ifndef WEIR_CLIENT_COMMANDS_H
#define WEIR_CLIENT_COMMANDS_H

int weir_client_main(int argc, char **argv);

#endif
