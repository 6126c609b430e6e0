// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Create2} from "@openzeppelin/contracts/utils/Create2.sol";

/// @title Deploys contracts at addresses known beforehand.
/// @notice One for each chain. CREATE2 derives the address from this contract, the salt and the creation code, so a
/// second deployment of the same token meets the first one's address and is refused.
contract AssetFactory is AccessControl {
    /// @notice May deploy.
    bytes32 public constant OPERATOR_ROLE = keccak256("OPERATOR_ROLE");

    /// @notice `operator` deployed `token`.
    /// @param token The new contract.
    /// @param salt The salt given.
    /// @param operator The caller.
    /// @param initCodeHash keccak256 of the creation code with its constructor arguments.
    /// @param kind The contract's name in ASCII, left-aligned: what the operator says it is, proven by nothing here.
    event Deployed(
        address indexed token,
        bytes32 indexed salt,
        address indexed operator,
        bytes32 initCodeHash,
        bytes32 kind
    );

    /// @notice This salt and creation code were deployed before.
    /// @param token The contract that they made.
    error AlreadyDeployed(address token);

    /// @notice The creation code ran, but left no code behind.
    /// @param token The address that stayed empty.
    error NoCode(address token);

    /// @notice A factory without an administrator could never deploy.
    error AdminMissing();

    /// @notice Makes the factory and gives both roles to one account.
    /// @param admin The first holder of DEFAULT_ADMIN_ROLE and OPERATOR_ROLE.
    constructor(address admin) {
        require(admin != address(0), AdminMissing());
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(OPERATOR_ROLE, admin);
    }

    /// @notice Deploys a contract; if its constructor reverts, this reverts with the same reason.
    /// @param salt Any value; the same salt and creation code are deployed once.
    /// @param initCode Creation code followed by the encoded constructor arguments, at most 49,152 bytes (EIP-3860).
    /// @param kind The contract's name in ASCII, left-aligned; only told in the event, so that a reader of the chain
    /// knows which artifact to compare the code with.
    /// @return token The new contract, at the address that `predict` names.
    function deploy(
        bytes32 salt,
        bytes calldata initCode,
        bytes32 kind
    ) external onlyRole(OPERATOR_ROLE) returns (address token) {
        bytes32 initCodeHash = keccak256(initCode);
        token = Create2.computeAddress(salt, initCodeHash);
        require(token.code.length == 0, AlreadyDeployed(token));
        // slither-disable-next-line unused-return it is `token`, computed above
        Create2.deploy(0, salt, initCode);
        require(token.code.length != 0, NoCode(token));
        emit Deployed(token, salt, _msgSender(), initCodeHash, kind);
    }

    /// @notice Where `deploy` puts the contract.
    /// @param salt The salt to be given.
    /// @param initCodeHash keccak256 of the creation code with its constructor arguments.
    /// @return The address, whether or not there is a contract yet.
    function predict(bytes32 salt, bytes32 initCodeHash) external view returns (address) {
        return Create2.computeAddress(salt, initCodeHash);
    }

    /// @notice Whether there is a contract at `token`: true from the block on in which its deployment succeeded.
    /// @param token The address that `predict` names.
    /// @return True once it has code.
    function deployed(address token) external view returns (bool) {
        return token.code.length != 0;
    }
}
