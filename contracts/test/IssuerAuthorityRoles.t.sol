// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.27;

import {AssetToken} from "../AssetToken.sol";
import {AuditAnchor} from "../AuditAnchor.sol";
import {ComplianceRegistry} from "../ComplianceRegistry.sol";
import {DeedToken} from "../DeedToken.sol";
import {Distributor} from "../Distributor.sol";
import {DocumentRegistry} from "../DocumentRegistry.sol";
import {GovernanceToken} from "../GovernanceToken.sol";
import {IssuerAuthority} from "../IssuerAuthority.sol";
import {ReserveAttestation} from "../ReserveAttestation.sol";
import {UtilityToken} from "../UtilityToken.sol";
import {Harness} from "./Harness.sol";

/// @dev The authority names the set's restricted functions by signature; here the compiler names them.
contract IssuerAuthorityRolesTest is Harness {
    uint64 private constant ADMIN = 0;
    uint64 private constant ISSUER = 1;
    uint64 private constant MINTER = 2;
    uint64 private constant COMPLIANCE = 3;
    uint64 private constant ENFORCER = 4;
    uint64 private constant PAUSER = 5;
    uint64 private constant ATTESTER = 6;
    uint64 private constant ANCHOR = 7;

    IssuerAuthority private authority;

    function setUp() public {
        authority = new IssuerAuthority(address(this), 0, address(0));
    }

    function test_fungible_units() public view {
        assertRole(AssetToken.mint.selector, MINTER, "mint");
        assertRole(AssetToken.batchMint.selector, MINTER, "batchMint");
        assertRole(AssetToken.burn.selector, ISSUER, "burn");
        assertRole(AssetToken.setFrozenTokens.selector, COMPLIANCE, "setFrozenTokens");
        assertRole(AssetToken.setFrozenTokensIf.selector, COMPLIANCE, "setFrozenTokensIf");
        assertRole(AssetToken.batchSetFrozenTokensIf.selector, COMPLIANCE, "batchSetFrozenTokensIf");
        assertRole(AssetToken.forcedTransfer.selector, ENFORCER, "forcedTransfer");
        assertRole(AssetToken.forcedTransferRef.selector, ENFORCER, "forcedTransferRef");
        assertRole(AssetToken.pause.selector, PAUSER, "pause");
        assertRole(AssetToken.unpause.selector, PAUSER, "unpause");
        assertRole(AssetToken.setRegistry.selector, ADMIN, "setRegistry");
        assertRole(UtilityToken.mint.selector, MINTER, "utility mint");
        assertRole(UtilityToken.batchMint.selector, MINTER, "utility batchMint");
        assertRole(UtilityToken.burn.selector, ISSUER, "utility burn");
        assertRole(UtilityToken.pause.selector, PAUSER, "utility pause");
        assertRole(UtilityToken.unpause.selector, PAUSER, "utility unpause");
        assertRole(GovernanceToken.mint.selector, MINTER, "governance mint");
        assertRole(GovernanceToken.batchMint.selector, MINTER, "governance batchMint");
        assertRole(GovernanceToken.burn.selector, ISSUER, "governance burn");
    }

    function test_deeds() public view {
        assertRole(DeedToken.mintDeed.selector, MINTER, "mintDeed");
        assertRole(DeedToken.setURI.selector, ISSUER, "setURI");
        assertRole(DeedToken.retire.selector, ISSUER, "retire");
        assertRole(DeedToken.setRoyalty.selector, ISSUER, "setRoyalty");
        assertRole(DeedToken.setDefaultRoyalty.selector, ISSUER, "setDefaultRoyalty");
        assertRole(DeedToken.setFrozenTokens.selector, COMPLIANCE, "setFrozenTokens");
        assertRole(DeedToken.setFrozenTokensIf.selector, COMPLIANCE, "setFrozenTokensIf");
        assertRole(DeedToken.forcedTransfer.selector, ENFORCER, "forcedTransfer");
        assertRole(DeedToken.forcedTransferRef.selector, ENFORCER, "forcedTransferRef");
        assertRole(DeedToken.pause.selector, PAUSER, "pause");
        assertRole(DeedToken.unpause.selector, PAUSER, "unpause");
        assertRole(DeedToken.setRegistry.selector, ADMIN, "setRegistry");
    }

    function test_what_stands_beside_the_tokens() public view {
        assertRole(ComplianceRegistry.setPolicy.selector, COMPLIANCE, "setPolicy");
        assertRole(ComplianceRegistry.setCountryHoldersMax.selector, COMPLIANCE, "setCountryHoldersMax");
        assertRole(ComplianceRegistry.setLots.selector, COMPLIANCE, "setLots");
        assertRole(ComplianceRegistry.setBlocked.selector, COMPLIANCE, "setBlocked");
        assertRole(ComplianceRegistry.setIdentity.selector, ATTESTER, "setIdentity");
        assertRole(ComplianceRegistry.batchSetIdentity.selector, ATTESTER, "batchSetIdentity");
        assertRole(ComplianceRegistry.linkWallet.selector, ATTESTER, "linkWallet");
        assertRole(DocumentRegistry.setDocument.selector, ISSUER, "setDocument");
        assertRole(DocumentRegistry.removeDocument.selector, ISSUER, "removeDocument");
        assertRole(ReserveAttestation.setAttester.selector, ISSUER, "setAttester");
        assertRole(Distributor.create.selector, ISSUER, "create");
        assertRole(Distributor.close.selector, ISSUER, "close");
        assertRole(AuditAnchor.anchor.selector, ANCHOR, "anchor");
    }

    function assertRole(bytes4 selector, uint64 role, string memory what) private view {
        assertEq(authority.getTargetFunctionRole(address(0xC0DE), selector), role, what);
    }
}
